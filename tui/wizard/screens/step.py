"""The base of the wizard's screens: title, list of steps, keys, and its end, which is an answer."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.views import with_status_words
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, save
from fitune.tui.wizard.forecast_text import forecast_draft, learn, wanted_shape, ways_out, with_remedy
from fitune.tui.wizard.memory.panel_text import verdict
from fitune.tui.wizard.memory.words import named
from fitune.tui.wizard.steps import Answer, Back, Forward
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.step_header import StepHeader


@dataclass
class Learned(Message):
    """The shape of a model was found, or can't be for this reason."""

    sought: tuple[str, str | None]
    problem: str = ""


class StepScreen(Screen[None]):
    """One step. `draft` always holds what was typed up to now. It stays until the screen after it takes its place."""

    NAME: ClassVar[steps.Name]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "forward", "Next", key_display="enter"),
        Binding("escape", "back", "Back"),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("ctrl+o,f5", "remedy(0)", show=False),  # the panel names these three
        Binding("f6", "remedy(1)", show=False),
        Binding("f7", "remedy(2)", show=False),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self.answer: Answer | None = None
        self.answered = asyncio.Event()
        self.forecast = forecast_draft(draft)
        self.ways = ways_out(self.forecast)
        self.note = ""
        """What the search for the best plan has found, for the panel."""
        self.sought: tuple[str, str | None] | None = None
        """The model, with its revision, whose size was asked for, and what came of that, until it is known."""
        self.sought_says = ""

    @property
    def step(self) -> steps.Step:
        return steps.named(self.NAME)

    def compose(self) -> ComposeResult:
        yield StepHeader(self.step, self.draft)
        with Vertical(id="body"):
            yield from self.body()
        yield Static(self.too_small(), id="too-small", markup=False)
        yield Keys()

    def body(self) -> Iterable[Widget]:
        """The widgets of this step."""
        raise NotImplementedError

    def too_small(self) -> Content:
        """The essential words, for a terminal that has no room for the screen."""
        found = [name for name, _ in steps.progress(self.step, self.draft)]
        place = Content(f"{self.step.title}, {found.index(self.step) + 1} of {len(found)}: {self.step.question}\n")
        keys = Content("\nterminal too small (need 80x24)  enter goes on, esc back, ^c quits")
        return place + (verdict(self.forecast) if self.forecast.known else Content()) + keys

    def help_topic(self) -> str:
        """The subject of the help behind `?`: a field's name, or the step's."""
        return self.NAME

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The first step has nothing to go back to, and what fits needs no remedy."""
        if action == "remedy":
            return len(self.ways) > int(str(parameters[0]))
        return not (action == "back" and steps.before(self.step, self.draft) is self.step)

    def say(self, text: str) -> None:
        """A line or two in #status, of the steps that have one."""
        self.query_one("#status", Static).update(with_status_words(named(text)))
        self.set_class(text.startswith("ERROR"), "-wrong")

    def leave_with(self, answer: Answer) -> None:
        """End the step, and say at once that the next one comes. The first answer counts."""
        if self.answer is None:
            self.answer = answer
            self.query_one(StepHeader).leave()
            self.call_after_refresh(self.answered.set)

    async def action_forward(self) -> None:
        self.leave_with(Forward(self.draft))

    def action_back(self) -> None:
        self.leave_with(Back(self.draft))

    def show_budget(self) -> None:
        """Bring the panel up to date with the draft."""
        self.forecast, ways_before = forecast_draft(self.draft), len(self.ways)
        if self.forecast.needs_shape and wanted_shape(self.draft) == self.sought:
            self.forecast = replace(self.forecast, unknown_why=self.sought_says)
        self.ways = ways_out(self.forecast)
        self.query_one(BudgetPanel).show(self.forecast, self.ways, self.note)
        self.query_one("#too-small", Static).update(self.too_small())
        if len(self.ways) != ways_before:
            self.refresh_bindings()

    def learn_shape(self) -> None:
        """Find out the size of a model that is not known: quick keys, or last time's answers, lead past its step."""
        if wanted := wanted_shape(self.draft):
            self.sought, self.sought_says = wanted, f"Asking for the size of {wanted[0]} ..."
            self.show_budget()
            self.fetch_shape(*wanted)

    @work(thread=True, exclusive=True, group="shape")
    def fetch_shape(self, model: str, revision: str | None) -> None:
        try:
            learn(model, revision)
        except UserError as error:
            self.post_message(Learned((model, revision), str(error)))
        else:
            self.post_message(Learned((model, revision)))

    async def on_learned(self, event: Learned) -> None:
        if event.sought == self.sought:
            self.sought_says = event.problem
        await self.refill()

    async def refill(self) -> None:
        """Show a draft that something else than typing has changed."""
        self.show_budget()

    async def action_remedy(self, number: int) -> None:
        self.draft = with_remedy(self.draft, self.ways[number])
        await self.refill()

    def ask_quit(self) -> None:
        """Leave the wizard; ask first if something was typed."""
        if not self.draft.edits:
            self.app.exit(0)
            return
        kept = "Your answers are kept until next time."
        try:
            save(self.draft, self.NAME, runs.home())
        except UserError as error:
            kept = str(error)
        question = f"Leave the wizard? {kept}"
        self.app.push_screen(
            ConfirmDialog(question, "Stay", "Leave"), lambda leave: self.app.exit(0) if leave else None
        )

    def action_help(self) -> None:
        from fitune.tui.widgets.help_page import HelpScreen
        from fitune.tui.wizard.help import help_text

        self.app.push_screen(HelpScreen(help_text(self.help_topic(), self.draft)))
