"""The third step: the settings as a form, with the memory that each one costs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from fitune.tui.text import safe
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, chosen_fields, problems, reset_field, set_field, shown, with_known
from fitune.tui.wizard.field_cost import field_cost
from fitune.tui.wizard.fields import MAIN, Field, form_fields
from fitune.tui.wizard.forecast_text import fitted, wanted_shape
from fitune.tui.wizard.screens.models import ModelsDialog
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.settings.empty import meanings
from fitune.tui.wizard.settings.groups import ELSEWHERE
from fitune.tui.wizard.settings.search import found_fields
from fitune.tui.wizard.steps import Forward
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.field_input import Changed
from fitune.tui.wizard.widgets.filter_line import Filtered, FilterLine
from fitune.tui.wizard.widgets.form import Form
from fitune.tui.wizard.widgets.line_edit import inserted

TYPING_PAUSE_S = 0.7


@dataclass
class RowsFound(Message):
    """The draft with what is known of its rows."""

    draft: Draft


class EditScreen(StepScreen):
    """Form on the left, budget on the right, and below them the field in hand explained."""

    NAME: ClassVar[steps.Name] = "edit"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "unfilter", "Show all"),
        Binding("escape", "back", "Back"),
        Binding("slash", "filter", "Filter"),
        Binding("ctrl+r", "reset", "Reset", key_display="^r"),
        Binding("ctrl+t", "unfold", "More", key_display="^t"),
        Binding("ctrl+t", "fold", "Fewer", key_display="^t"),
        Binding("ctrl+f", "fastest", "Best", key_display="^f"),
    ]
    AUTO_FOCUS = "Form"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.folded = True
        self.noted = draft.edits
        """The edits that `note` is about."""
        self.form = Form(draft, form_fields(self.folded, chosen_fields(draft)))
        self.asked_from = self.form.field
        """The field in hand when the filter was opened."""
        self.path = ""
        """What was typed for that field: no setting has a slash, so a second one shows that the first began a path."""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="sides"):
            with Vertical(id="left"):
                yield FilterLine("steps, memory, checkpoint ...")
                yield self.form
                yield Static("No setting has these words. Esc shows all.", id="none", markup=False)
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
        self.note = self.note if self.draft.edits == self.noted else ""
        self.show_budget()
        self.form.show(self.draft, self.wrong(), meanings(self.draft, self.forecast))
        self.list_fields()
        self.explain()
        self.pause.reset()
        if wanted_shape(self.draft):
            self.pause.resume()
        else:
            self.pause.pause()

    def wrong(self) -> dict[str, str]:
        """Field name -> what is wrong with it, by itself or on this card."""
        return {**self.forecast.wrong, **problems(self.draft)}

    def offered(self) -> tuple[Field, ...]:
        """The fields of the form; those that something has set, or that are wrong, also where the rest is folded."""
        in_hand = [self.form.field.name] if self.form.field.name not in MAIN else []
        return form_fields(self.folded, {*chosen_fields(self.draft), *self.wrong(), *in_hand})

    def list_fields(self) -> None:
        """List what is offered, if that has changed; a filtered list stays as it is."""
        if not self.is_filtered and self.offered() != self.form.fields:
            self.form.offer(self.offered())

    def explain(self) -> None:
        """Say what the field in hand is, and what it costs."""
        field = self.form.field
        drawn = explanation(field, shown(self.draft, field.name), field_cost(self.draft, field, self.forecast))
        self.query_one("#detail", Static).update(drawn, layout=False)  # its room is fixed

    def on_entered(self) -> None:
        self.form.redraw()
        self.explain()

    def on_changed(self, event: Changed) -> None:
        self.draft = set_field(self.draft, event.name, event.text)
        self.show()

    async def action_forward(self) -> None:
        """Go on, unless a field is wrong: then go there."""
        wrong = self.wrong().keys() - set(ELSEWHERE)
        if not wrong:
            self.leave_with(Forward(self.draft))
            return
        if self.is_filtered:
            self.action_unfilter()
            self.form.offer(self.offered())
        self.form.enter(next(field.name for field in self.form.fields if field.name in wrong))

    def on_models_wanted(self) -> None:
        self.app.push_screen(ModelsDialog(self.draft), self.take_model)

    def take_model(self, model: str | None) -> None:
        """Take a model from the list."""
        if model is not None:
            self.draft = set_field(self.draft, "model.id", model)
            self.show()

    async def action_reset(self) -> None:
        self.draft = reset_field(self.draft, self.form.field.name)
        await self.refill()

    async def action_fastest(self) -> None:
        """Take the fastest plan that fits this card and leaves the result alone; the panel says why until the next
        change."""
        if self.forecast.known is None:  # the panel says why
            return
        self.draft, self.note = fitted(self.draft, self.forecast)
        self.noted = self.draft.edits
        await self.refill()

    async def refill(self) -> None:
        self.show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Esc shows all settings again first."""
        if action in ("back", "unfilter") and self.is_filtered != (action == "unfilter"):
            return False
        if action in ("fold", "unfold"):
            return self.folded == (action == "unfold")
        return super().check_action(action, parameters)

    def action_unfold(self) -> None:
        """Show all fields."""
        self.fold(False)

    def action_fold(self) -> None:
        """Show only the ten that matter first, and those that something has set."""
        self.fold(True)

    def fold(self, folded: bool) -> None:
        self.folded = folded
        if folded and self.form.field not in form_fields(True, {*chosen_fields(self.draft), *self.wrong()}):
            self.form.enter(MAIN[0])
        self.form.offer(self.offered())
        self.refresh_bindings()

    # Finding a setting

    @property
    def is_filtered(self) -> bool:
        """Only what holds the typed words is listed."""
        return self.query_one(FilterLine).display

    def action_filter(self) -> None:
        """Look for a setting by a word, in all of them."""
        self.asked_from = self.form.field
        self.query_one(FilterLine).open()

    def on_filtered(self, event: Filtered) -> None:
        if "/" in event.words and self.asked_from.kind == "text":
            self.path = f"/{event.words}"
            self.query_one(FilterLine).close()
            return
        fields = form_fields(folded=False)
        found = found_fields(event.words, fields)
        self.query_one(FilterLine).tell(len(found), len(fields))
        self.form.display = bool(found)
        self.query_one("#none").display = not found
        if event.words.strip() and found:
            self.form.offer(found, headings=False, first=True)
        elif found:
            self.folded = self.folded and self.form.field.name in MAIN
            self.form.offer(self.offered())

    def on_filter_left(self) -> None:
        if self.form.display:
            self.form.focus()
        if self.path:
            self.form.enter(self.asked_from.name)
            self.form.take(inserted(self.form.line, self.path))
            self.path = ""
        self.refresh_bindings()

    def action_unfilter(self) -> None:
        """List all again, the field in hand still in hand."""
        if self.is_filtered:
            self.query_one(FilterLine).close()

    @work(thread=True)
    def find_rows(self) -> None:
        """Rows that were rendered before make the budget that of their true lengths."""
        self.post_message(RowsFound(with_known(self.draft)))

    def on_rows_found(self, event: RowsFound) -> None:
        if event.draft.rendered is not self.draft.rendered:
            self.draft = replace(self.draft, rendered=event.draft.rendered)
            self.show()

    def learn_shape(self) -> None:
        """The typing has paused."""
        self.pause.pause()
        super().learn_shape()


def explanation(field: Field, value: str, cost: str) -> Content:
    """The field in hand: its key, its values with the one that is set, what it means, and what it costs."""
    allowed = safe(field.range)
    if field.kind == "choice":
        each = [Content.styled(choice, "bold $primary" if choice == value else "") for choice in field.choices]
        allowed = Content(", ").join(each)
    elif field.name == "model.id":
        allowed = Content.styled("Space", "bold $primary") + Content(
            " lists the models that fitune knows, for this card"
        )
    told = Content.styled(f"{field.name}  ", "bold") + allowed + Content("\n") + safe(field.help, 600, True)
    return told + Content("\n") + safe(cost)
