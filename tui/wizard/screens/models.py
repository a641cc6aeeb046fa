"""A box to choose the model in: a list for this card, what is typed looks in it, and any other id is taken as typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from fitune.tui.data.paths import as_path
from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.wizard.draft import Draft, shown
from fitune.tui.wizard.models.choices import ModelChoice, found_models, model_choices, with_disk

ASKED = "Which model?  Each is judged with your settings, on this card."
TYPED = "Another one, as it is typed: "


@dataclass
class ModelsFound(Message):
    """The models were judged, or looked for on the disk."""

    choices: Sequence[ModelChoice]


class ModelInput(Input):
    """Keeps the keys: the arrows move in the list below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.move(1)", show=False),
        Binding("up", "screen.move(-1)", show=False),
        Binding("pagedown", "screen.move(8)", show=False),
        Binding("pageup", "screen.move(-8)", show=False),
    ]


class ModelsDialog(ModalScreen[str | None]):
    """Returns a Hub id or a folder; None for Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self.choices: Sequence[ModelChoice] = ()
        self.found: Sequence[ModelChoice] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(ASKED, markup=False)
            yield ModelInput(placeholder="Words such as: qwen 8b, tools, apache. Or any id, or a folder", compact=True)
            models = ChoiceList(id="models")
            models.can_focus = False
            yield models
            yield Static("Looking at the models that fitune knows ...", id="about", markup=False)
            yield Static("Enter takes it, Esc goes back.", classes="hint", markup=False)

    def on_mount(self) -> None:
        self.query_one(ModelInput).focus()
        self.judge()

    @work(thread=True, exclusive=True)
    def judge(self) -> None:
        """The list at once, what is on the disk a moment later."""
        judged = model_choices(self.draft)
        self.post_message(ModelsFound(judged))
        self.post_message(ModelsFound(with_disk(judged)))

    def on_models_found(self, event: ModelsFound) -> None:
        first = not self.choices
        self.choices = event.choices
        self.list_models(shown(self.draft, "model.id") if first and not self.typed else self.in_hand)

    def on_resize(self) -> None:
        self.call_after_refresh(lambda: self.list_models(self.in_hand))

    @property
    def typed(self) -> str:
        return as_path(self.query_one(ModelInput).value)

    @property
    def models(self) -> ChoiceList:
        return self.query_one(ChoiceList)

    @property
    def in_hand(self) -> str:
        """The model of the line in hand; what is typed where that is none of the list."""
        at = self.models.highlighted
        return self.found[at].id if at is not None and at < len(self.found) else self.typed

    def on_input_changed(self) -> None:
        self.list_models("")

    def list_models(self, in_hand: str) -> None:
        """List what holds the typed words, and what is typed itself."""
        if not self.choices:
            return
        self.found = found_models(self.typed, self.choices)
        columns = max(40, self.models.content_size.width - 1)
        own = [] if not self.typed or any(each.id == self.typed for each in self.found) else [TYPED + self.typed]
        at = next((at for at, each in enumerate(self.found) if each.id == in_hand), 0)
        self.models.offer([*(each.line(columns) for each in self.found), *own], at)

    def action_move(self, by: int) -> None:
        last = self.models.option_count - 1
        if last >= 0:
            self.models.highlighted = min(last, max(0, (self.models.highlighted or 0) + by))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        at = event.option_index
        told = self.found[at].about if at < len(self.found) else ["Its size is looked up on the Hub, or in its folder."]
        self.query_one("#about", Static).update(safe("\n".join(told), keep_newlines=True))

    def on_option_list_option_selected(self) -> None:
        self.take()

    def on_input_submitted(self) -> None:
        self.take()

    def take(self) -> None:
        """Take the line in hand; before the list is there, what is typed."""
        if self.in_hand:
            self.dismiss(self.in_hand)
