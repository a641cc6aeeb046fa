"""Candidates: the recipe with some settings changed, and how each would fare. `search` chooses among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fitune.core.forecast.cards import pace_of_all, share_of_one
from fitune.core.forecast.duration import Duration, amount_of, estimate_duration
from fitune.core.forecast.forecast import Forecast, forecast
from fitune.core.forecast.pace import TYPICAL, Pace, estimate_pace
from fitune.core.forecast.site import Site
from fitune.core.memory import Budget, Shape
from fitune.core.recipe import Recipe, changed, value_of
from fitune.core.tokens import TokenStats, with_packing_decided


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan that was looked at."""

    set: Mapping[str, Any]
    """Changes of the recipe, by `group.key`; None unsets a field."""
    recipe: Recipe
    """With the changes, packing as the recipe has it."""
    forecast: Forecast
    speed: float
    """Comparable among candidates, also where the card has no figures: of whole trainings, start-up included, where the
    rows are known; else of tokens."""
    speed_once_started: float
    """The same without the recipe's own start-up, which no plan saves: however short the training, what a plan gains is
    seen."""

    @property
    def budget(self) -> Budget:
        return self.forecast.budget

    @property
    def pace(self) -> Pace:
        return self.forecast.pace

    @property
    def fits(self) -> bool:
        """It has all the memory it needs, with the safety margin."""
        return self.forecast.memory_shortage is None

    @property
    def short_bytes(self) -> int:
        """Memory that is missing to be safe; 0 if it fits."""
        short = self.forecast.memory_shortage
        return short.missing_bytes if short else 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A plan that was not taken, and why."""

    set: Mapping[str, Any]
    """Changes of the recipe that make it."""
    unlike: Mapping[str, Any]
    """Its differences from the plan that was taken, by `group.key`."""
    why: str
    """The reason why it was not taken, in words."""


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A recipe and its site: what the candidates are tried on."""

    shape: Shape
    recipe: Recipe
    site: Site
    rows: TokenStats | None = None
    """The rows in tokens; None counts them as full length."""
    base_is_open: bool = False
    """The base may be kept in another number format than the recipe's."""
    started_s: float = 0.0
    """Seconds until the first step with the recipe as it is, where the rows are known."""

    def look(self, changes: Mapping[str, Any]) -> Candidate:
        """The recipe with these changes (`group.key`, unchecked) here. Raises UserError as `forecast`."""
        recipe = changed(self.recipe, changes)
        found = forecast(self.shape, recipe, self.site, self.rows)
        real = {name: value for name, value in changes.items() if value != value_of(self.recipe, name)}
        return Candidate(real, recipe, found, *_speeds(found, self.started_s))

    @property
    def longest(self) -> int:
        """Tokens of the longest row as it goes through the model."""
        decided, work = with_packing_decided(self.recipe, self.rows, self.shape)
        length = decided.model.max_seq_length
        return length if work is None or decided.data.packing is True else max(1, work.longest)


def start_s(found: Forecast) -> float:
    """Seconds until the first step, counted as in the times of candidates; 0 where the rows are not known."""
    times = (_time(found, pace) for pace in _paces(found)) if found.site.card else ()
    return next((time.start_s for time in times if time), 0.0)


def _speeds(found: Forecast, started_s: float) -> tuple[float, float]:
    """With start-up, and once started, after so many seconds; on a processor by its operations alone."""
    if found.site.card is None:
        speed = 1 / found.pace.flops_per_token / max(1.0, found.work.tokens if found.work else 1.0)
        return speed, speed
    for pace in _paces(found):
        if time := _time(found, pace):
            return 1 / time.total_s, 1 / max(time.steps_s, time.total_s - started_s)
        if pace.tokens_per_s:
            return pace.tokens_per_s, pace.tokens_per_s
    return 0.0, 0.0


def _paces(found: Forecast) -> Iterator[Pace]:
    """The pace on the card, and on an ordinary one for a card without figures. History does not count: it is the same
    for all candidates."""
    ranks, work = found.site.ranks, found.work
    row_tokens, parts = (work.row_tokens, work.micro_batches / ranks) if work else (None, None)
    share = share_of_one(found.decided, ranks)
    for name in (found.site.gpu_name, TYPICAL):
        of_one = estimate_pace(found.shape, share, name, row_tokens, found.budget.offloaded_layers, parts)
        yield pace_of_all(of_one, found.decided, ranks)


def _time(found: Forecast, pace: Pace) -> Duration | None:
    """The time of the training at this pace; None where the rows or the pace are not known."""
    if found.work is None:
        return None
    return estimate_duration(found.shape, found.decided, found.budget, pace, amount_of(found.work))
