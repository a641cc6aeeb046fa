"""The third step: the settings as a form, with the memory that each one costs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from fitune.core.errors import UserError
from fitune.tui.text import clean, safe
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, problems, reset_field, set_field, shown, with_known
from fitune.tui.wizard.field_cost import field_cost
from fitune.tui.wizard.fields import ELSEWHERE, MAIN, form_fields
from fitune.tui.wizard.forecast_text import fitted, known_shape, learn
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.steps import Forward
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.field_input import Changed
from fitune.tui.wizard.widgets.form import Form

TYPING_PAUSE_S = 0.7


@dataclass
class Learned(Message):
    """The shape of a model was found, or can't be for this reason."""

    problem: str = ""


@dataclass
class RowsFound(Message):
    """The draft with what is known of its rows."""

    draft: Draft


class EditScreen(StepScreen):
    """Form on the left, budget on the right, and below them the field in hand explained."""

    NAME: ClassVar[steps.Name] = "edit"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "reset", "Reset", key_display="^r"),
        Binding("ctrl+t", "fold", "More", key_display="^t"),
        Binding("ctrl+f", "fastest", "Best", key_display="^f"),
    ]
    AUTO_FOCUS = "Form"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.folded = True
        self.form = Form(draft, form_fields(self.folded))

    def body(self) -> Iterable[Widget]:
        with Horizontal():
            yield self.form
            yield BudgetPanel(self.forecast)
        yield Static(id="detail", markup=False)

    def on_mount(self) -> None:
        self.pause = self.set_interval(TYPING_PAUSE_S, self.learn_shape, pause=True)
        self.show()
        self.find_rows()

    def help_topic(self) -> str:
        return self.form.field.name

    def show(self) -> None:
        """Bring form, budget and explanation up to date with the draft."""
        self.form.show(self.draft, problems(self.draft))
        self.show_budget()
        self.explain()
        self.pause.reset()
        if wanted_shape(self.draft):
            self.pause.resume()
        else:
            self.pause.pause()

    def explain(self) -> None:
        """Say what the field in hand is, and what it costs."""
        field = self.form.field
        about = Content.styled(field.name, "bold") + safe(f"  {field.range}\n{field.help}\n", 600, True)
        cost = safe(field_cost(self.draft, field, self.forecast))
        self.query_one("#detail", Static).update(about + cost, layout=False)  # its room is fixed

    def on_entered(self) -> None:
        self.form.redraw()
        self.explain()

    def on_changed(self, event: Changed) -> None:
        self.draft = set_field(self.draft, event.name, event.text)
        self.show()

    async def action_forward(self) -> None:
        """Go on, unless a field is wrong: then go there."""
        wrong = problems(self.draft).keys() - set(ELSEWHERE)
        if not wrong:
            self.leave_with(Forward(self.draft))
            return
        if self.folded and not wrong & set(MAIN):
            self.action_fold()
        self.form.enter(next(field.name for field in self.form.fields if field.name in wrong))

    async def action_reset(self) -> None:
        self.draft = reset_field(self.draft, self.form.field.name)
        await self.refill()

    async def action_fastest(self) -> None:
        """Take the fastest plan that fits this card and leaves the result alone."""
        self.draft, said = fitted(self.draft, self.forecast)
        await self.refill()
        self.app.notify(clean(said), markup=False)

    async def refill(self) -> None:
        self.show()

    def action_fold(self) -> None:
        """Show all fields, or only the ten that matter first."""
        self.folded = not self.folded
        self.form.offer(form_fields(self.folded))

    @work(thread=True)
    def find_rows(self) -> None:
        """Rows that were rendered before make the budget that of their true lengths."""
        self.post_message(RowsFound(with_known(self.draft)))

    def on_rows_found(self, event: RowsFound) -> None:
        if event.draft.rendered is not self.draft.rendered:
            self.draft = replace(self.draft, rendered=event.draft.rendered)
            self.show()

    def learn_shape(self) -> None:
        """The typing has paused: find out the size of a model that is not known."""
        self.pause.pause()
        if wanted := wanted_shape(self.draft):
            self.show_budget(f"Asking for the size of {wanted[0]} ...")
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
