"""The Textual app: the wizard, or one run. It shows something first, and imports what that needs afterwards."""

import asyncio
import gc
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events, work
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.theme import Theme
from textual.widgets import Static

from fitune.core import runs
from fitune.core.diagnose import redact
from fitune.core.errors import ExitCode
from fitune.core.files import read_file, write_atomically
from fitune.core.runs import Run
from fitune.tui import terminal
from fitune.tui.driver import KeyDriver
from fitune.tui.keys import settled, takes_keys
from fitune.tui.text import clean, safe, wrapped
from fitune.tui.widgets.dialogs import ConfirmDialog

if TYPE_CHECKING:
    from fitune.core.jobs.chat import Settings
    from fitune.tui.watch.screen import WatchScreen
    from fitune.tui.wizard.draft import Draft
    from fitune.tui.wizard.steps import Step

QUIT_KEYS = ("ctrl+c", "ctrl+q")
SCREEN_LOOK_S = 0.01
COMMANDS = {
    "rename": "Rename", "queue": "Queue", "write": "Write a recipe", "undo_plan": "Undo the plan",
    "copy": "Copy command", "help": "Help",
}  # fmt: skip
"""What the palette calls actions whose key has no name, or a shorter one, in the line of keys."""
QUIET_S = 1.0
"""Without a key for so long, nobody types."""
FIRST_RUNS = 8
"""Names of runs in the first frame."""
NO_COMMANDS = ("quit", "command_palette")
THEME_FILE = "theme"
"""In fitune's home: the name of the theme that was chosen."""
THEME = Theme(
    "fitune", primary="#6fb3d2", secondary="#8a9ba8", accent="#6fb3d2", foreground="#d5dbe0", background="#14181c",
    surface="#1b2126", panel="#222a30", success="#7fb685", warning="#d9b45b", error="#e07a6b", dark=True,
)  # fmt: skip


class FituneApp(App[int]):
    """The wizard, or one run to watch."""

    TITLE = "fitune"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide"), (120, "-broad")]  # noqa: RUF012 - Textual's way
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall"), (36, "-roomy")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(",".join(QUIT_KEYS), "quit", "Quit", key_display="^c", priority=True, system=True),
        Binding("ctrl+p", "command_palette", "All commands", show=False, priority=True),
    ]

    def __init__(
        self,
        run: Run | None = None,
        draft: "Draft | None" = None,
        plain_glyphs: bool = False,
        alone: Screen[None] | None = None,
    ) -> None:
        """alone: a screen to show instead, until it is left."""
        super().__init__(driver_class=KeyDriver)
        self.watched, self.first_draft, self.alone = run, draft, alone
        self.first_step: Step | None = None
        self.set_class(plain_glyphs, "-plain-glyphs")
        self.register_theme(THEME)
        self.theme = kept if (kept := kept_theme()) in self.available_themes else "fitune"
        self.animation_level = "none"  # each frame of one goes over the wire
        self.typed: asyncio.Queue[events.Key | events.Paste] = asyncio.Queue()
        self.typed_s = time.monotonic()

    def compose(self) -> ComposeResult:
        yield Static(Content("\n").join(self.first_words()), id="first-words", markup=False)

    def first_words(self) -> Iterator[Content]:
        """What is known at once: the first frame does not wait for the imports of the screen that follows."""
        title = Content.styled("fitune", "bold $primary")
        if self.watched or self.alone:
            yield title + safe(f"  {self.watched.name}" if self.watched else "", 60)
            yield Content("reading the run ...")
            yield safe(f"Its folder: {self.watched.path}" if self.watched else "", 200)
            return
        found = runs.all_runs(runs.home())
        yield title + Content("  What do you want to do?")
        yield Content(f"Looking at this machine ...  {os.cpu_count() or '?'} cores")
        yield safe(f"{len(found)} run{'' if len(found) == 1 else 's'} in {runs.home() / 'runs'}", 200)
        for run in found[:FIRST_RUNS]:
            yield safe(f"  {run.name}", 78)

    def on_mount(self) -> None:
        terminal.exit_on_signals(self)
        self.set_interval(QUIET_S, self.collect_garbage)
        self.hand_out_keys()
        self.theme_changed_signal.subscribe(self, self.keep_theme)
        if self.alone:
            self.push_screen(self.alone, lambda _: self.exit(0))
        elif self.watched is None:
            self.walk()
        else:
            self.call_after_refresh(self.watch_run, self.watched)  # first something is shown

    async def on_event(self, event: events.Event) -> None:
        """Keys wait for their turn; Ctrl+C does not where nothing is there yet to take it."""
        is_urgent = isinstance(event, events.Key) and event.key in QUIT_KEYS and not takes_keys(self)
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded and not is_urgent:
            gc.disable()
            self.typed_s = time.monotonic()
            self.typed.put_nowait(event)
        else:
            await super().on_event(event)

    def collect_garbage(self) -> None:
        """Let the collector work where nobody types: one of its rounds now and then took 50 to 160 ms of a key."""
        if time.monotonic() - self.typed_s > QUIET_S:
            gc.enable()

    def on_unmount(self) -> None:
        gc.enable()

    @work
    async def hand_out_keys(self) -> None:
        """One key after the other, each to the screen that the one before it led to."""
        while True:
            event = await self.typed.get()
            while not takes_keys(self):
                await asyncio.sleep(SCREEN_LOOK_S)
            target = self.focused or self.screen
            await super().on_event(event)
            await settled(target)

    @work
    async def walk(self, train_on: Run | None = None) -> None:
        """The wizard, up to a run to be watched. Its imports take their time: first something is shown.

        train_on: begin at the settings, with the model that this run made.
        """
        if "fitune.tui.wizard.walk" not in sys.modules:
            await asyncio.to_thread(importlib.import_module, "fitune.tui.wizard.walk")
            spare_imports()
        from fitune.tui.wizard.walk import walk, walk_on

        self.watch_run(await (walk_on(self, train_on) if train_on else walk(self, self.first_draft, self.first_step)))

    def watch_run(self, run: Run) -> None:
        """Show a run, alive or not."""
        from fitune.tui.watch.screen import WatchScreen

        self.watched = run
        if len(self.screen_stack) == 1:
            spare_imports()
            self.push_screen(WatchScreen(run))
        else:
            self.switch_screen(WatchScreen(run))  # the wizard's last step stays until then

    def on_watch_screen_left(self, event: "WatchScreen.Left") -> None:
        """From a run back to the first screen, or to a training that goes on from it."""
        self.watched, self.first_step = None, None
        self.walk(event.train_on)

    def keep_theme(self, theme: Theme) -> None:
        """Keep the chosen theme for the next start."""
        try:
            runs.home().mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(runs.home() / THEME_FILE, theme.name.encode())
        except OSError as error:
            self.notify(clean(f"The theme can't be kept: {error.strerror}."), markup=False)

    async def action_quit(self) -> None:
        """Leave; a screen with something to lose asks first, also from below a page of help or a question."""
        if isinstance(self.screen, ConfirmDialog):
            return
        asking = (getattr(screen, "ask_quit", None) for screen in reversed(self.screen_stack))
        if ask_quit := next(filter(None, asking), None):
            ask_quit()
        else:
            self.exit(0)

    def _fatal_error(self) -> None:
        """Report a fault of fitune's own in a sentence; the traceback goes to a file. Textual would print variables."""
        file = runs.home() / "crash.txt"
        told = redact(traceback.format_exc())
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(file, told.encode())
        except OSError:
            where = f"It can't be kept in {file}, so here it is:\n{told}"
        else:
            where = f"What happened is in {file}"
        said = "fitune failed, by a fault of its own. A training that runs is not touched."
        self.panic(Text(f"{said}\n{clean(where, 4000, keep_newlines=True)}"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: every key of this screen that does something now, and what holds everywhere."""
        by_action = {each.binding.action: each for each in reversed(screen.active_bindings.values()) if each.enabled}
        for action, each in reversed(by_action.items()):
            if (each.binding.show or action in COMMANDS) and action not in NO_COMMANDS:
                said = COMMANDS.get(action, each.binding.description)
                key = f"Key: {self.get_key_display(each.binding)}"
                yield SystemCommand(said, key, partial(self.run_action, action, each.node))
        yield SystemCommand("Theme", "Choose colours: dark, light, or the terminal's own", self.action_change_theme)
        if screen.query("HelpPanel"):
            yield SystemCommand("Keys", "Hide the keys of this screen", self.action_hide_help_panel)
        else:
            yield SystemCommand("Keys", "Show the keys of this screen", self.action_show_help_panel)
        yield SystemCommand("Quit", "Leave; a training goes on by itself", self.action_quit)


def spare_imports() -> None:
    """Spare the garbage collector what was imported, which is most of what there is and stays."""
    gc.freeze()


def kept_theme() -> str:
    """The name of the theme that was chosen last; empty if none was, or it can't be read."""
    try:
        return read_file(runs.home() / THEME_FILE).decode(errors="replace").strip()
    except OSError:
        return ""


def run_wizard(answers: Mapping[str, Any] | None = None, plain_glyphs: bool = False) -> int:
    """The wizard from its first step, on this terminal; the exit status: 130 if it was left before a run was there.

    answers: groups of recipe fields that take the place of a preset's. plain_glyphs: ASCII marks and bars.
    """
    draft = None
    if answers:
        from fitune.tui.wizard.draft import Draft

        draft = Draft(answers=answers)
    app = FituneApp(draft=draft, plain_glyphs=plain_glyphs)
    status = _run(app)
    if app.watched:
        return status
    from fitune.tui.wizard.draft import kept_line

    if kept := kept_line(runs.home()):
        print(wrapped(kept, sys.stderr), file=sys.stderr)
    return status or ExitCode.STOPPED


def run_watch(run: Run, plain_glyphs: bool = False) -> int:
    """One run on this terminal, from its first event; the exit status."""
    return _run(FituneApp(run=run, plain_glyphs=plain_glyphs))


def run_chat(run: Run, settings: "Settings", share_gpu: bool = False, plain_glyphs: bool = False) -> int:
    """Talk with a trained model on this terminal; the exit status."""
    from fitune.tui.chat.screen import ChatScreen

    return _run(FituneApp(plain_glyphs=plain_glyphs, alone=ChatScreen(run, settings, share_gpu)))


def _run(app: FituneApp) -> int:
    spare_imports()
    status = terminal.run(app)
    for line in terminal.last_lines(app.watched) if app.watched else ():
        print(wrapped(line, sys.stderr), file=sys.stderr)
    return status
