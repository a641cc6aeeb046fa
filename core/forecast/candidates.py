"""A recipe with some settings changed, and how it would fare on a card: what `search` looks through."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitune.core.forecast.history import Experience
from fitune.core.forecast.pace import TYPICAL, Pace, estimate_pace
from fitune.core.memory import RUNTIME_CPU_BYTES, Budget, Card, Shape, estimate, safe_bytes
from fitune.core.memory.plan import GIB
from fitune.core.recipe import Recipe
from fitune.core.tokens import Prepared, as_decided

RAM_SHARE = 0.9
"""Of the free host RAM, what a plan may pin."""
REFUSED = "room that Unsloth's auto finds"
"""What is missing where offload_layers is auto and Unsloth would not load the model."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A plan that was looked at."""

    set: Mapping[str, Any]
    """Changes of the recipe, by `group.key`; None unsets a field."""
    recipe: Recipe
    budget: Budget
    pace: Pace
    speed: float
    """Comparable among plans, also where the card has no figures: of whole trainings where the rows are known, so that
    padding is no gain; else of tokens."""
    short_bytes: int
    """What is missing to fit with the safety margin; 0 if it fits."""
    short_of: str

    @property
    def fits(self) -> bool:
        return not self.short_bytes


@dataclass(frozen=True, slots=True)
class Place:
    """What the plans are tried on."""

    shape: Shape
    recipe: Recipe
    card: Card | None
    gpu_name: str | None
    ram_bytes: int | None
    experience: Experience
    rows: Prepared | None = None
    """The rows in tokens; None counts them as full length."""

    def look(self, changes: Mapping[str, Any]) -> Tried:
        """The recipe with these changes (`group.key`, unchecked) here. Raises UserError as `estimate`."""
        recipe = changed(self.recipe, changes)
        decided, work = as_decided(recipe, self.rows)
        budget = self.experience.budget(estimate(self.shape, decided, self.card, work.longest if work else None))
        row_tokens, away = work.row_tokens if work else None, budget.offloaded_layers
        pace = estimate_pace(self.shape, decided, self.gpu_name, row_tokens, away)
        if self.card is None:
            tokens_per_s = 1 / pace.flops_per_token
        else:
            typical = pace if pace.tokens_per_s else estimate_pace(self.shape, decided, TYPICAL, row_tokens, away)
            tokens_per_s = typical.tokens_per_s or 0.0
        speed = tokens_per_s / max(1.0, work.tokens if work else 1.0)
        short_bytes, short_of = self._short(budget)
        real = {name: value for name, value in changes.items() if value != value_of(self.recipe, name)}
        return Tried(real, recipe, budget, self.experience.pace(pace), speed, short_bytes, short_of)

    @property
    def longest(self) -> int:
        """Tokens of the longest row as it goes through the model."""
        decided, work = as_decided(self.recipe, self.rows)
        length = decided.model.max_seq_length
        return length if work is None or decided.data.packing is True else max(1, work.longest)

    def _short(self, budget: Budget) -> tuple[int, str]:
        """What is missing on the card, else in host RAM."""
        if self.card is None:
            return (max(0, budget.high_bytes - self.ram_bytes) if self.ram_bytes else 0), "RAM"
        if budget.refused:
            return max(1, safe_bytes(budget) - budget.free_bytes), REFUSED
        if budget.verdict != "fits":
            return max(1, safe_bytes(budget) - budget.free_bytes), "memory on the card"
        wanted_bytes = host_ram_bytes(budget.host_bytes)
        return (max(0, wanted_bytes - self.ram_bytes) if self.ram_bytes is not None else 0), "host RAM"


def host_ram_bytes(pinned_bytes: int) -> int:
    """Host RAM that must be free for what a training on a card pins (Budget.host_bytes); 0 where it pins nothing."""
    return round((pinned_bytes + RUNTIME_CPU_BYTES) / RAM_SHARE) if pinned_bytes else 0


def ram_lack(pinned_bytes: int, ram_bytes: int | None) -> str:
    """That the free host RAM is too little for what is pinned, as a sentence; empty if it will do or is not known."""
    wanted_bytes = host_ram_bytes(pinned_bytes)
    if ram_bytes is None or wanted_bytes <= ram_bytes:
        return ""
    return f"For its host RAM {wanted_bytes / GIB:.1f} GiB should be free, and {ram_bytes / GIB:.1f} GiB are."


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with `group.key` values set, unchecked: they come from this search."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        group, _, key = name.partition(".")
        groups.setdefault(group, {})[key] = value
    return recipe.model_copy(
        update={group: getattr(recipe, group).model_copy(update=keys) for group, keys in groups.items()}
    )


def value_of(recipe: Recipe, name: str) -> Any:
    """The value of a field by `group.key`."""
    group, _, key = name.partition(".")
    return getattr(getattr(recipe, group), key)
