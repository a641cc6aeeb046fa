"""The third step: the settings as a form, with the memory that each one costs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from core.errors import UserError
from tui import steps
from tui.draft import Draft, problems, reset_field, set_field, shown
from tui.fields import ELSEWHERE, MAIN, Field, all_fields, form_fields
from tui.outlook import field_cost, known_shape, learn
from tui.screens.step import StepScreen
from tui.steps import Forward
from tui.text import safe
from tui.widgets.budget_panel import BudgetPanel
from tui.widgets.form import Changed, Entered, FieldRow

TYPING_PAUSE_S = 0.7


@dataclass
class Learned(Message):
    """The shape of a model was found, or can't be for this reason."""

    problem: str = ""


class EditScreen(StepScreen):
    """Form on the left, budget on the right, and below them the field in hand explained."""

    NAME: ClassVar[steps.Name] = "edit"
    BINDINGS: ClassVar[list[BindingType]] = [
        # First in line: keys that arrive together, as from a slow line, must not land in the field before.
        Binding("down,tab", "app.focus_next", show=False, priority=True),
        Binding("up,shift+tab", "app.focus_previous", show=False, priority=True),
        Binding("ctrl+r", "reset", "Reset", key_display="^r"),
        Binding("ctrl+t", "fold", "More", key_display="^t"),
    ]
    AUTO_FOCUS = "FieldInput, FieldChoice"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.folded = True
        self.field = all_fields()[MAIN[0]]

    def body(self) -> Iterable[Widget]:
        with Horizontal():
            with VerticalScroll(id="form", can_focus=False):
                yield from (FieldRow(field, self.draft) for field in form_fields(self.folded))
            yield BudgetPanel(self.outlook)
        yield Static(id="detail", markup=False)

    def on_mount(self) -> None:
        self.pause = self.set_interval(TYPING_PAUSE_S, self.learn_shape, pause=True)
        self.show()

    def help_topic(self) -> str:
        return self.field.name

    def show(self) -> None:
        """Bring rows, budget and explanation up to date with the draft."""
        wrong = problems(self.draft)
        for row in self.query(FieldRow):
            row.show(self.draft, wrong.get(row.field.name, ""))
        self.show_budget()
        self.explain()
        self.pause.reset()
        if wanted_shape(self.draft):
            self.pause.resume()
        else:
            self.pause.pause()

    def explain(self) -> None:
        """Say what the field in hand is, and what it costs."""
        about = Content.styled(self.field.name, "bold") + safe(f"  {self.field.range}\n{self.field.help}\n", 600, True)
        cost = safe(field_cost(self.draft, self.field, self.outlook))
        self.query_one("#detail", Static).update(about + cost, layout=False)  # its room is fixed

    def on_entered(self, event: Entered) -> None:
        self.field = all_fields()[event.name]
        self.explain()

    def on_changed(self, event: Changed) -> None:
        if event.text == shown(self.draft, event.name):
            return
        self.draft = set_field(self.draft, event.name, event.text)
        self.show()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        await self.action_forward()

    async def action_forward(self) -> None:
        """Go on, unless a field is wrong: then go there."""
        wrong = problems(self.draft).keys() - set(ELSEWHERE)
        if not wrong:
            self.dismiss(Forward(self.draft))
            return
        if self.folded and not any(row.field.name in wrong for row in self.query(FieldRow)):
            await self.action_fold()
        wrong_rows = (row for row in self.query(FieldRow) if row.field.name in wrong)
        if first := next(wrong_rows, None):
            first.control.focus()

    async def action_reset(self) -> None:
        self.draft = reset_field(self.draft, self.field.name)
        await self.refill()

    async def refill(self) -> None:
        """Put the draft's values into the boxes."""
        for row in self.query(FieldRow):
            row.put(shown(self.draft, row.field.name))
        self.show()

    async def action_fold(self) -> None:
        """Show all fields, or only the ten that matter first."""
        self.folded = not self.folded
        form = self.query_one("#form")
        if self.folded:
            await self.query(FieldRow).filter(".-expert").remove()
        else:
            extra = [field for field in form_fields(False) if field.name not in MAIN]
            await form.mount_all(expert_row(field, self.draft) for field in extra)
        self.show()

    def learn_shape(self) -> None:
        """The typing has paused: find out the size of a model that is not known."""
        self.pause.pause()
        if wanted := wanted_shape(self.draft):
            self.fetch_shape(*wanted)

    @work(thread=True, exclusive=True, group="shape")
    def fetch_shape(self, model: str, revision: str | None) -> None:
        try:
            learn(model, revision)
        except UserError as error:
            self.post_message(Learned(str(error)))
        else:
            self.post_message(Learned())

    def on_learned(self, event: Learned) -> None:
        self.show_budget(event.problem)
        self.explain()


def wanted_shape(draft: Draft) -> tuple[str, str | None] | None:
    """Model and revision whose size isn't known yet; None if it is, or no model is named."""
    model, revision = shown(draft, "model.id").strip(), shown(draft, "model.revision").strip() or None
    return (model, revision) if model and known_shape(model, revision) is None else None


def expert_row(field: Field, draft: Draft) -> FieldRow:
    """A row that is folded away again."""
    row = FieldRow(field, draft)
    row.add_class("-expert")
    return row
