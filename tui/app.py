"""The Textual app: walks through the wizard's steps, and shows runs."""

import asyncio
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme

from core import runs
from core.diagnose import redact
from core.runs import Run
from tui import steps, terminal
from tui.draft import Draft, discard, save
from tui.screens.data import DataScreen
from tui.screens.edit import EditScreen
from tui.screens.preset import PresetScreen
from tui.screens.review import ReviewScreen
from tui.screens.start import StartScreen
from tui.screens.step import StepScreen
from tui.steps import Back, Forward, Reopen, Watch
from tui.text import clean
from tui.widgets.confirm import Confirm

SCREENS: dict[steps.Name, type[StepScreen]] = {
    "start": StartScreen,
    "preset": PresetScreen,
    "edit": EditScreen,
    "data": DataScreen,
    "review": ReviewScreen,
}
THEME = Theme(
    "fitune", primary="#6fb3d2", secondary="#8a9ba8", accent="#6fb3d2", foreground="#d5dbe0", background="#14181c",
    surface="#1b2126", panel="#222a30", success="#7fb685", warning="#d9b45b", error="#e07a6b", dark=True,
)  # fmt: skip


class FituneApp(App[int]):
    """The wizard, or one run to watch."""

    TITLE = "fitune"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide")]  # noqa: RUF012 - Textual's way
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "quit", "Quit", key_display="^c", priority=True, system=True)
    ]

    def __init__(self, run: Run | None = None, draft: Draft | None = None, plain_glyphs: bool = False) -> None:
        super().__init__()
        self.watched, self.first_draft, self.first_step = run, draft or Draft(), steps.STEPS[0]
        self.set_class(plain_glyphs, "-plain-glyphs")
        self.register_theme(THEME)
        self.theme = "fitune"
        self.animation_level = "none"  # each frame of one goes over the wire

    def on_mount(self) -> None:
        terminal.exit_on_signals(self)
        if self.watched is None:
            self.walk(self.first_draft, self.first_step)
        else:
            self.watch_run(self.watched)

    @work
    async def walk(self, draft: Draft, step: steps.Step) -> None:
        """Step after step, back and forth, until a run is there to be watched."""
        while True:
            answer = await self.push_screen_wait(SCREENS[step.name](draft))
            match answer:
                case Forward(draft):
                    step = steps.after(step, draft)
                case Back(draft):
                    step = steps.before(step, draft)
                case Reopen(draft, name):
                    step = steps.named(name)
                case Watch(run):
                    await asyncio.to_thread(discard, runs.home())
                    self.watch_run(run)
                    return
            await asyncio.to_thread(save, draft, step.name, runs.home())

    def watch_run(self, run: Run) -> None:
        """Show a run, alive or not."""
        from tui.screens.watch import WatchScreen

        self.watched = run
        self.push_screen(WatchScreen(run))

    async def action_quit(self) -> None:
        """Leave; ask first if something was typed that is not under way yet."""
        screen = self.screen
        if ask_quit := getattr(screen, "ask_quit", None):  # the watch screen, which is imported only when it is shown
            ask_quit()
        elif isinstance(screen, StepScreen) and screen.draft.edits:
            await asyncio.to_thread(save, screen.draft, screen.NAME, runs.home())
            question = "Leave the wizard? Your answers are kept until next time."
            self.push_screen(Confirm(question, "Stay", "Leave"), lambda leave: self.exit(0) if leave else None)
        elif not isinstance(screen, Confirm):
            self.exit(0)

    def _fatal_error(self) -> None:
        """A fault of fitune's own: told in a sentence, the traceback in a file. Textual would print all variables."""
        file = runs.home() / "crash.txt"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        runs.write_atomically(file, redact(traceback.format_exc()).encode())
        said = "fitune failed, by a fault of its own. A training that runs is not touched."
        self.panic(Text(f"{said}\nWhat happened is in {clean(str(file))}"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: what makes sense here, not all that Textual has."""
        if isinstance(screen, StepScreen):
            yield SystemCommand("Help", "Explain the field or step in hand", screen.action_help)
        yield SystemCommand("Theme", "Choose colours: dark, light, or the terminal's own", self.action_change_theme)
        yield SystemCommand("Keys", "Show the keys of this screen", self.action_show_help_panel)
        yield SystemCommand("Quit", "Leave; a training goes on by itself", self.action_quit)


def run_wizard(answers: Mapping[str, Any] | None = None, plain_glyphs: bool = False) -> int:
    """The wizard from its first step, on this terminal; its exit status.

    answers: groups of recipe fields that take the place of a preset's. plain_glyphs: ASCII marks and bars.
    """
    return _run(FituneApp(draft=Draft(answers=answers or {}), plain_glyphs=plain_glyphs))


def run_watch(run: Run, plain_glyphs: bool = False) -> int:
    """One run on this terminal, from its first event; the exit status."""
    return _run(FituneApp(run=run, plain_glyphs=plain_glyphs))


def _run(app: FituneApp) -> int:
    status = terminal.run(app)
    for line in terminal.last_lines(app.watched) if app.watched else ():
        print(line, file=sys.stderr)
    return status
