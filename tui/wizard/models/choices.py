"""The models to choose from on this card, best first: those that presets offer, and all others that fitune knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size

from fitune.core.deliver import on_disk
from fitune.core.memory import config_json
from fitune.core.recipe import presets
from fitune.core.recipe.presets import ModelNote
from fitune.tui.text import count, gib
from fitune.tui.wizard.draft import Draft, set_field
from fitune.tui.wizard.forecast_text import DraftForecast, Verdict, bounds, forecast_draft, known_shape
from fitune.tui.wizard.settings.search import begins, matches

ORDER: Sequence[Verdict] = ("fits", "tight", "unknown", "over")
FIXED_COLUMNS, WIDE_COLUMNS = 38, 96
"""Of a line beside the name; and of one that has room for a whole licence."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model with the settings of the draft."""

    id: str
    forecast: DraftForecast
    params: int = 0
    note: ModelNote | None = None
    """None where fitune knows no more than its size."""
    is_here: bool = False
    """Its weights are on this disk."""

    @property
    def words(self) -> str:
        """What a person may look for it by."""
        told = f"{self.note.good_for} {self.note.licence}" if self.note else ""
        here = "on this disk" if self.is_here else ""
        return f"{self.id} {params_words(self.params)} {told} {self.forecast.list_word} {here}"

    def line(self, columns: int) -> str:
        """`OK    Qwen/Qwen3-8B            8.2B   15.3 GiB  Apache-2.0  on disk`."""
        licence = (self.note.licence.removesuffix(" License") if self.note else "")[
            : 12 if columns < WIDE_COLUMNS else 26
        ]
        download = gib(self.forecast.budget.download_bytes) if self.forecast.budget else ""
        name = _fit(self.id, min(48, max(16, columns - FIXED_COLUMNS)))
        where = "on disk" if self.is_here else download
        return f"{self.forecast.list_word:<5} {name} {params_words(self.params):>6} {where:>9}  {licence}"

    @property
    def about(self) -> list[str]:
        """Its whole id, what it is good for, and what it takes with the settings as they are."""
        budget = self.forecast.budget
        needed = f"Memory {bounds(budget)}: {self.forecast.short}." if budget else self.forecast.said
        weights = "It is on this disk." if self.is_here else ""
        if not self.is_here and budget:
            weights = f"Download {gib(budget.download_bytes)}."
        told = str(self.note) if self.note else "Its page on the Hub tells its licence and what it is good for."
        return [self.id, told, f"{needed} {weights}"]


def model_choices(draft: Draft) -> tuple[ModelChoice, ...]:
    """Every model that fitune knows, with the settings of the draft; the best for this card first.

    Takes up to a second: for a thread.
    """
    notes = presets.model_notes()
    names = dict.fromkeys((*notes, *config_json.shipped_ids()))
    choices = [_choice(draft, name, notes.get(name)) for name in names]
    return tuple(sorted(choices, key=_rank))


def with_disk(choices: Sequence[ModelChoice]) -> tuple[ModelChoice, ...]:
    """The same with what is on this disk. For a thread: the first call imports the Hub's library."""
    return tuple(replace(each, is_here=on_disk(each.id).bytes == 0) for each in choices)


def found_models(typed: str, choices: Sequence[ModelChoice]) -> tuple[ModelChoice, ...]:
    """The models that hold all words that were typed: first those whose names have parts that begin so, of these the
    shortest, which has the least beside them."""
    if not typed.strip():
        return tuple(choices)
    named = (each for each in choices if begins(typed, f"{each.id} {params_words(each.params)}"))
    begun = sorted(named, key=lambda each: len(each.id.rpartition("/")[2]))
    told = [each for each in choices if each not in begun and matches(typed, each.words)]
    return (*begun, *told)


def params_words(params: int) -> str:
    """A number of parameters: `135M`, `8.2B`; empty for none."""
    if not params:
        return ""
    return f"{count(params / 1e6)}M" if params < 1e9 else f"{params / 1e9:.1f}B"


def _choice(draft: Draft, name: str, note: ModelNote | None) -> ModelChoice:
    forecast = forecast_draft(set_field(draft, "model.id", name))
    shape = known_shape(name, None)
    return ModelChoice(name, forecast, shape.params if shape else 0, note)


def _rank(choice: ModelChoice) -> tuple[int, bool, float, int]:
    """What fits first, of that what is known best, of that the largest; of what does not fit the smallest.

    Of the same size the newest.
    """
    fits = choice.forecast.verdict in ("fits", "tight")
    billions = round(choice.params / 1e9, 1)
    year = choice.note.year if choice.note else 0
    return ORDER.index(choice.forecast.verdict), choice.note is None, -billions if fits else billions, -year


def _fit(text: str, columns: int) -> str:
    """A name in so many columns, without its owner where it is too long."""
    if cell_len(text) > columns:
        text = text.rpartition("/")[2]
    return set_cell_size(text, columns) if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"
