"""The last step: all that will happen, in plain words, and the start."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Static

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.recipe import Model, Recipe
from fitune.core.runs import Run
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, prepared, problems, recipe, set_field
from fitune.tui.wizard.fields import text_of
from fitune.tui.wizard.forecast_text import with_plan, without_plan
from fitune.tui.wizard.models.weights import Weights, ask, look
from fitune.tui.wizard.outside.editor import in_editor
from fitune.tui.wizard.outside.enqueue import enqueue
from fitune.tui.wizard.outside.lend import lend
from fitune.tui.wizard.outside.race import ASKED, WORDS, outcome, raced
from fitune.tui.wizard.review_text import command_line, faults, obstacles, push_words, write_recipe
from fitune.tui.wizard.screens.data_reader import NotRead, Read, Rendered, read_rows, render_rows
from fitune.tui.wizard.screens.step import Learned, StepScreen
from fitune.tui.wizard.steps import Watch
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.review_summary import Start, summary


@dataclass
class Started(Message):
    """The run has begun, or it can't for this reason."""

    run: Run | None
    problem: str = ""


@dataclass
class Queued(Message):
    """The recipe was put into the queue, or could not be; told in a sentence."""

    told: str
    asked: Recipe | None = None


@dataclass
class Planned(Message):
    """The fastest plan for these rows was looked for."""

    draft: Draft


@dataclass
class WeightsFound(Message):
    """Where the weights of the base model come from."""

    weights: Weights


class ReviewScreen(StepScreen):
    """One button."""

    NAME: ClassVar[steps.Name] = "review"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "write", "Write"),
        Binding("e", "edit", "Edit"),
        Binding("r", "race", "Race rates"),
        Binding("u", "undo_plan", "Undo"),
        Binding("q", "queue", "Queue"),
        Binding("down", "scroll(1)", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(8)", show=False),
        Binding("pageup", "scroll(-8)", show=False),
    ]
    AUTO_FOCUS = "Button"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.unreadable = ""
        self.weights: Weights | None = None
        self.starting, self.starts_once_found = False, False
        self.queued: Recipe | None = None  # what was put into the queue: a second press adds nothing

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(id="summary", can_focus=False):
            yield Static(summary(self.draft, None), id="told")
        yield BudgetPanel(self.forecast, brief=True)
        with Vertical(id="bottom"):
            yield Static(id="status", markup=False)
            yield Start()

    async def on_mount(self) -> None:
        """Find out what is missing: after last time's answers, or quick keys, no tokens are counted."""
        await self.refill()
        self.learn_shape()
        if not problems(self.draft):
            self.find_weights(recipe(self.draft).model)
        if not self.draft.source or self.obstacles():
            return
        if self.draft.report is None:
            read_rows(self, self.draft)
        elif prepared(self.draft) is None:
            render_rows(self, self.draft)
        else:
            self.plan()

    async def refill(self) -> None:
        self.show_budget()
        self.query_one("#told", Static).update(summary(self.draft, self.weights))
        wrong = self.obstacles()
        self.query_one(Start).block(bool(wrong))
        missing = self.weights.text if self.weights and self.weights.is_missing else ""
        later = f"Press w to write a recipe: {command_line()} then does the same."
        self.say("\n".join(f"ERROR {each}" for each in wrong) or missing or later)

    @work(thread=True, exclusive=True, group="weights")
    def find_weights(self, model: Model) -> None:
        found = look(model)
        self.post_message(WeightsFound(found))
        if (asked := ask(found, model)) != found:
            self.post_message(WeightsFound(asked))

    async def on_weights_found(self, event: WeightsFound) -> None:
        self.weights = event.weights
        await self.refill()
        if self.starts_once_found:
            self.starts_once_found = False
            await self.action_forward()

    async def on_read(self, event: Read) -> None:
        self.draft = replace(self.draft, report=event.report)
        await self.refill()

    async def on_rendered(self, event: Rendered) -> None:
        self.draft = replace(self.draft, rendered=event.rendered)
        await self.refill()
        self.plan()

    @work(thread=True, exclusive=True, group="plan")
    def plan(self) -> None:
        self.post_message(Planned(with_plan(self.draft)))

    async def on_planned(self, event: Planned) -> None:
        self.draft = event.draft
        await self.refill()
        self.refresh_bindings()

    async def action_undo_plan(self) -> None:
        """Take the proposed plan back."""
        self.draft = without_plan(self.draft)
        await self.refill()
        self.refresh_bindings()

    async def on_not_read(self, event: NotRead) -> None:
        self.unreadable = event.problem
        await self.refill()

    async def on_learned(self, _: Learned) -> None:
        """The plan follows from the size, too; the rest is StepScreen's, whose handler is called as well."""
        if prepared(self.draft):
            self.plan()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is no way back from a run that is being started, and nothing to undo without a plan."""
        if action in ("edit", "race", "queue") and self.starting:
            return False
        if action == "undo_plan":
            return bool(self.draft.plan and self.draft.plan.text) and not self.starting
        return not (action == "back" and self.starting) and super().check_action(action, parameters)

    def obstacles(self) -> list[str]:
        """The reasons why it can't start yet."""
        return obstacles(self.draft, self.weights) or ([self.unreadable] if self.unreadable else [])

    async def on_button_pressed(self) -> None:
        await self.action_forward()

    async def action_forward(self) -> None:
        """Start, if nothing is in the way; a push is confirmed first."""
        if self.obstacles():
            await self.refill()
            return
        if self.weights is None:  # an Enter that was typed ahead
            self.starts_once_found = True
            return
        self.confirm("Start and push", self.start)

    def confirm(self, word: str, go: Callable[[Recipe], object]) -> None:
        """Go on with the recipe; a push is confirmed first, with this word."""
        if not (asked := recipe(self.draft)).deliver.push_repo:
            go(asked)
            return
        question = f"After the training the result will be pushed to\n{push_words(asked)}."

        def answered(yes: bool | None) -> None:
            if yes:
                go(asked)

        self.app.push_screen(ConfirmDialog(question, "Back", word), answered)

    def start(self, asked: Recipe) -> None:
        """Start in a thread; a second press meanwhile does nothing."""
        if not self.starting:
            self.set_starting(True)
            began_s = time.monotonic()
            self.say("Starting ...")
            self.ticking = self.set_interval(1, lambda: self.say(f"Starting ... {time.monotonic() - began_s:.0f} s"))
            self.launch(asked)

    def set_starting(self, starting: bool) -> None:
        self.starting = starting
        self.query_one(Button).set_class(starting, "-busy")
        self.refresh_bindings()

    @work(thread=True, exclusive=True, group="launch")
    def launch(self, asked: Recipe) -> None:
        try:
            self.post_message(Started(jobs.begin(asked, self.draft.preset, rows=prepared(self.draft)).run))
        except UserError as error:
            self.post_message(Started(None, str(error)))

    def on_started(self, event: Started) -> None:
        self.ticking.stop()
        self.set_starting(False)
        if event.run is None:
            self.say(f"ERROR {event.problem}")
        else:
            self.pop_until_active()  # help may lie over it
            self.leave_with(Watch(event.run))

    async def action_queue(self) -> None:
        """Put it into the queue, if it is whole: there it waits for a free card, so that memory is no obstacle now."""
        if faults(self.draft) or self.unreadable:
            await self.refill()
        else:
            self.confirm("Queue and push", self.enqueue)

    @work(thread=True, exclusive=True, group="launch")
    def enqueue(self, asked: Recipe) -> None:
        try:
            told = f"OK {enqueue(asked)}" if asked != self.queued else "OK It is in the queue already."
            self.post_message(Queued(told, asked))
        except UserError as error:
            self.post_message(Queued(f"ERROR {error}"))

    def on_queued(self, event: Queued) -> None:
        self.queued = event.asked or self.queued
        self.say(event.told)

    def action_write(self) -> None:
        try:
            name = write_recipe(self.draft, Path.cwd()).name
            self.say(f"Written. The same training without questions: {command_line(name)}")
        except UserError as error:
            self.say(f"ERROR {error}")

    async def action_edit(self) -> None:
        """The recipe in the user's editor, and back."""
        try:
            self.draft = in_editor(self.draft, runs.home(), partial(lend, self.app))
        except UserError as error:
            self.say(f"ERROR {error}\nPress e to go on with the same text.")
        else:
            self.unreadable = ""
            await self.on_mount()

    def action_race(self) -> None:
        """Find the best learning rate, if the training could start."""
        if not self.obstacles():
            self.app.push_screen(ConfirmDialog(ASKED, "Back", "Race"), self.race)

    async def race(self, yes: bool | None) -> None:
        if not yes:
            return
        try:
            found = raced(recipe(self.draft), runs.home(), partial(lend, self.app, reads=True, words=WORDS))
        except UserError as error:
            self.say(f"ERROR {error}")
            return
        if found.best_lr is not None:
            self.draft = set_field(self.draft, "train.lr", text_of(found.best_lr))
            await self.refill()
        self.say(outcome(found))

    def action_scroll(self, by: int) -> None:
        self.query_one("#summary").scroll_relative(y=by, animate=False)
