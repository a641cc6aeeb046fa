"""Two runs side by side: both losses over the same steps, the settings that differ, and what came of each."""

from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from fitune.core.errors import UserError
from fitune.core.runs import Run, RunState
from fitune.tui.text import clean, safe
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.step_chart import StepChart

CHARTS = ("one", "other")


class CompareScreen(Screen[None]):
    """A thread reads both runs; a chart of each above, a table below."""

    CSS_PATH = "../watch/watch.tcss"
    AUTO_FOCUS = "#details"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Home"),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class Compared(Message):
        """Both runs were read, or one of them can't be."""

        text: str
        states: tuple[RunState, RunState] | None

    def __init__(self, one: Run, other: Run) -> None:
        super().__init__()
        self.pair = one, other

    def compose(self) -> ComposeResult:
        yield Readout("title")
        with Horizontal(id="charts"):
            for name, run in zip(CHARTS, self.pair, strict=True):
                yield StepChart(name, f"loss of {clean(run.name, 40)}")
        with VerticalScroll(id="details", classes="-alone"):
            yield Readout("table")
        yield Static("terminal too small (need 80x24)  Esc goes back", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        said = Content("  What was set differently, and what came of it?")
        self.query_one("#title", Readout).say(Content.styled("fitune", "bold $primary") + said)
        self.query_one("#table", Readout).say(Content("reading both runs ..."))
        self.read_both()

    @work(thread=True, exclusive=True, exit_on_error=False, group="read")
    def read_both(self) -> None:
        from fitune.tui.home.comparison import as_table, compared  # pydantic, which the first frame should not wait for

        one, other = self.pair
        try:
            text = as_table(compared((one, other)), max(16, (self.size.width - 46) // 2))
            self.post_message(self.Compared(text, (one.state(), other.state())))
        except UserError as error:
            self.post_message(self.Compared(f"ERROR {error}", None))

    def on_compare_screen_compared(self, event: Compared) -> None:
        self.query_one("#table", Readout).say(safe(event.text, 20_000, keep_newlines=True))
        states = event.states or ()
        last = max((state.total_steps or 0 for state in states), default=0) or None
        for name, state in zip(CHARTS, states, strict=False):
            self.query_one(f"#{name}", StepChart).show(state.loss.points, state.eval_loss.points, last)

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import compare_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(compare_help()))
