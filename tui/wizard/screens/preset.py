"""The second step: a starting point, ranked for this card or for another one that is planned for."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from fitune.core.recipe import Preset, presets
from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.widgets.dialogs import AskDialog
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import (
    Draft,
    changed_settings,
    next_model,
    reset_field,
    set_field,
    use_preset,
    without_settings,
)
from fitune.tui.wizard.forecast_text import COLOURS, DraftForecast
from fitune.tui.wizard.options import (
    PresetChoice,
    card_gib_of,
    kept_changes,
    machine_summary,
    model_lines,
    preset_choices,
)
from fitune.tui.wizard.screens.models import ModelsDialog
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.settings.search import matches
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.filter_line import Filtered, FilterInput, FilterLine

CARD_QUESTION = "Plan for an empty card of how many GB?\nNothing: for this machine."


class PresetScreen(StepScreen):
    """The list on the left, the budget of the one in hand on the right."""

    NAME: ClassVar[steps.Name] = "preset"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "unfilter", "Show all"),
        Binding("escape", "back", "Back"),
        Binding("slash", "filter", "Filter"),
        Binding("m", "models", "Models"),
        Binding("ctrl+g", "plan", "Card", key_display="^g"),
        Binding("left", "model(-1)", "Model before", show=False, priority=True),
        Binding("right", "model(1)", "Model", key_display="←→", priority=True),
        Binding("ctrl+r", "drop_changes", "Drop changes", key_display="^r"),
    ]
    AUTO_FOCUS = "#choices"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.choices = self.listed = preset_choices(draft)

    def body(self) -> Iterable[Widget]:
        with Horizontal():
            with Vertical(id="left"):
                yield Static(id="about", markup=False)
                yield FilterLine("a size, a model, tools, code ...")
                yield ChoiceList(id="choices")
                yield Static(id="detail", markup=False)
            yield BudgetPanel(self.forecast)

    def on_mount(self) -> None:
        self.fill()

    @property
    def has_no_card(self) -> bool:
        """There is no card here, and none is planned for."""
        machine = self.draft.machine
        return self.draft.card_gib is None and machine is not None and not any(gpu.allowed for gpu in machine.gpus)

    def fill(self) -> None:
        """List the presets, the one chosen before in hand."""
        planned = " ^g plans for a card." if self.has_no_card else ""
        self.query_one("#about", Static).update(safe(f"{machine_summary(self.choices)}{planned}"))
        options = self.query_one(ChoiceList)
        ids = [choice.preset.id for choice in self.listed]
        first = ids.index(self.draft.preset) if self.draft.preset in ids else 0
        options.set_options(self.line(choice, in_hand=at == first) for at, choice in enumerate(self.listed))
        if ids:
            options.highlighted = first

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        choice = self.listed[event.option_index]
        if self.draft.preset != choice.preset.id:
            self.relabel()
        self.draft = use_preset(self.draft, choice.preset.id)
        self.tell(choice.preset)
        self.relabel(choice.forecast if self.draft.model is None else self.forecast)

    def relabel(self, forecast: DraftForecast | None = None) -> None:
        """Tell in the list how the preset of the draft fares by a forecast, or with its first model."""
        for index, choice in enumerate(self.listed):
            if choice.preset.id == self.draft.preset:
                line = self.line(replace(choice, forecast=forecast or choice.forecast), in_hand=forecast is not None)
                self.query_one(ChoiceList).replace_option_prompt_at_index(index, line)

    def line(self, choice: PresetChoice, in_hand: bool = False) -> Content:
        """A preset in the list; the colour of its verdict would not be readable on that of the one in hand."""
        colour = "$secondary" if choice.forecast.verdict == "over" else COLOURS[choice.forecast.verdict]
        drawn = safe(choice.text)
        return drawn if in_hand else drawn.stylize(colour, 0, len(choice.forecast.list_word))

    def tell(self, preset: Preset) -> None:
        """Show the preset in hand with its model, and the budget of both."""
        self.show_budget()
        changes = kept_changes(self.draft)
        kept = [f"WARN {changes} The memory beside counts them; ^r drops them."] if changes else []
        told = [*kept, preset.whom, *model_lines(self.draft)]
        self.query_one("#detail", Static).update(safe("\n".join(told), keep_newlines=True))

    def action_model(self, step: int) -> None:
        """Take the next of the preset's models, or the one before."""
        self.draft = next_model(self.draft, step)
        if self.draft.preset:
            self.tell(presets.find(self.draft.preset))
            self.relabel(self.forecast)

    async def on_option_list_option_selected(self) -> None:
        await self.action_forward()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There may be no changes to drop, and nothing to show again; in a line of text the arrows move the cursor."""
        line = self.query_one(FilterLine)
        if action == "drop_changes":
            return bool(changed_settings(self.draft))
        if action in ("back", "unfilter") and line.display != (action == "unfilter"):
            return False
        if action in ("model", "models") and isinstance(self.focused, FilterInput):
            return False
        return super().check_action(action, parameters)

    def action_drop_changes(self) -> None:
        """Forget the changed settings: the presets then hold as they are."""
        self.draft = without_settings(self.draft)
        self.fill()
        self.refresh_bindings()

    def action_plan(self) -> None:
        now = "" if self.draft.card_gib is None else f"{self.draft.card_gib:g}"
        self.app.push_screen(AskDialog(CARD_QUESTION, now, card_gib_of), self.planned)

    def planned(self, answer: str | None) -> None:
        """Rank anew for the card that was typed."""
        if answer is not None:
            self.draft = replace(self.draft, card_gib=card_gib_of(answer), preset=None)
            self.choices = self.listed = preset_choices(self.draft)
            self.query_one(FilterLine).close()
            self.fill()

    # Finding

    def action_filter(self) -> None:
        """Look for a preset by a word."""
        self.query_one(FilterLine).open()

    def action_unfilter(self) -> None:
        self.query_one(FilterLine).close()

    def on_filtered(self, event: Filtered) -> None:
        self.listed = tuple(each for each in self.choices if matches(event.words, words_of(each.preset)))
        self.query_one(FilterLine).tell(len(self.listed), len(self.choices))
        self.fill()
        if not self.listed:
            self.query_one("#detail", Static).update("No preset has these words. Esc shows all; m lists all models.")

    def on_filter_left(self) -> None:
        if self.listed:
            self.query_one(ChoiceList).focus()
        self.refresh_bindings()

    def action_models(self) -> None:
        """Choose among all models that fitune knows."""
        self.app.push_screen(ModelsDialog(self.draft), self.take_model)

    def take_model(self, model: str | None) -> None:
        """Take the best preset with this model; where none has it, this preset with the model as a change."""
        if model is None:
            return
        having = next((each.preset for each in self.choices if model in each.preset.models), None)
        if having:
            draft = reset_field(use_preset(self.draft, having.id), "model.id")
            self.draft = replace(draft, model=model)
        else:
            self.draft = set_field(self.draft, "model.id", model)
        self.query_one(FilterLine).close()
        self.listed = self.choices
        self.fill()
        if self.draft.preset:
            self.tell(presets.find(self.draft.preset))
            self.relabel(self.forecast)


def words_of(preset: Preset) -> str:
    """What a person may look for a preset by."""
    notes = presets.model_notes()
    return " ".join((preset.title, preset.whom, *(f"{model} {notes[model]}" for model in preset.models)))
