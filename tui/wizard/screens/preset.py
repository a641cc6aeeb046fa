"""The second step: a starting point, ranked for this card or for another one that is planned for."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import OptionList, Static

from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.widgets.dialogs import AskDialog
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, use_preset
from fitune.tui.wizard.options import card_gib_of, preset_choices
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel

CARD_QUESTION = "Plan for an empty card of how many GB?\nNothing: for this machine."


class PresetScreen(StepScreen):
    """The list on the left, the budget of the one in hand on the right."""

    NAME: ClassVar[steps.Name] = "preset"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+g", "plan", "Another card", key_display="^g")]
    AUTO_FOCUS = "#choices"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.choices = preset_choices(draft)

    def body(self) -> Iterable[Widget]:
        with Horizontal():
            with Vertical(id="left"):
                yield ChoiceList(id="choices")
                yield Static(id="detail", markup=False)
            yield BudgetPanel(self.forecast)

    def on_mount(self) -> None:
        self.fill()

    def fill(self) -> None:
        """List the presets, the one chosen before in hand."""
        options = self.query_one(ChoiceList)
        options.set_options(safe(choice.text) for choice in self.choices)
        ids = [choice.preset.id for choice in self.choices]
        options.highlighted = ids.index(self.draft.preset) if self.draft.preset in ids else 0

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        choice = self.choices[event.option_index]
        self.draft = use_preset(self.draft, choice.preset.id)
        self.show_budget()
        told = [choice.preset.whom, choice.models, *(f"Memory: {each}." for each in choice.preset.evidence)]
        self.query_one("#detail", Static).update(safe("\n".join(told), keep_newlines=True))

    async def on_option_list_option_selected(self) -> None:
        await self.action_forward()

    def action_plan(self) -> None:
        now = "" if self.draft.card_gib is None else f"{self.draft.card_gib:g}"
        self.app.push_screen(AskDialog(CARD_QUESTION, now, card_gib_of), self.planned)

    def planned(self, answer: str | None) -> None:
        """Rank anew for the card that was typed."""
        if answer is not None:
            self.draft = replace(self.draft, card_gib=card_gib_of(answer), preset=None)
            self.choices = preset_choices(self.draft)
            self.fill()
