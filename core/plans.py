"""A recipe with some settings changed, and how it would fare on a card: what `core.fit` searches through."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.budget import RUNTIME_CPU_BYTES, Budget, Card, estimate, safe_bytes
from core.learned import Experience
from core.pace import TYPICAL, Pace, estimate_pace
from core.recipe_fields import Recipe
from core.shapes import Shape

RAM_SHARE = 0.9
"""Of the free host RAM, what a plan may pin."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A plan that was looked at."""

    set: Mapping[str, Any]
    """Changes of the recipe, by `group.key`; None unsets a field."""
    recipe: Recipe
    budget: Budget
    pace: Pace
    speed: float
    """Comparable among plans, also where the card has no figures."""
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

    def look(self, changes: Mapping[str, Any]) -> Tried:
        """The recipe with these changes (`group.key`, unchecked) here. Raises UserError as core.budget.estimate."""
        recipe = changed(self.recipe, changes)
        budget = self.experience.budget(estimate(self.shape, recipe, self.card))
        away = budget.offloaded_layers
        pace = estimate_pace(self.shape, recipe, self.gpu_name, layers_away=away)
        if self.card is None:
            speed = 1 / pace.flops_per_token
        else:
            speed = pace.tokens_per_s or estimate_pace(self.shape, recipe, TYPICAL, layers_away=away).tokens_per_s or 0
        short_bytes, short_of = self._short(budget)
        real = {name: value for name, value in changes.items() if value != value_of(self.recipe, name)}
        return Tried(real, recipe, budget, self.experience.pace(pace), speed, short_bytes, short_of)

    def _short(self, budget: Budget) -> tuple[int, str]:
        """What is missing on the card, else in host RAM."""
        if self.card is None:
            return (max(0, budget.high_bytes - self.ram_bytes) if self.ram_bytes else 0), "RAM"
        if budget.verdict != "fits":
            return max(1, safe_bytes(budget) - budget.free_bytes), "memory on the card"
        pinned = round((budget.host_bytes + RUNTIME_CPU_BYTES) / RAM_SHARE) if budget.host_bytes else 0
        return (max(0, pinned - self.ram_bytes) if self.ram_bytes is not None else 0), "host RAM"


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
