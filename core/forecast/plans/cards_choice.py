"""The choice of cards on a machine with several: one, or all of them together, each with its plan and its time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fitune.core.errors import UserError
from fitune.core.forecast.forecast import forecast_on
from fitune.core.forecast.plans.candidates import Candidate
from fitune.core.forecast.plans.fit import fit
from fitune.core.machine import Machine
from fitune.core.recipe import Recipe, changed
from fitune.core.tokens import TokenStats

WORTH_MORE_CARDS = 1.2
"""More cards are proposed where they are so many times as fast as one."""


@dataclass(frozen=True, slots=True)
class CardsChoice:
    """A number of cards to train on together."""

    gpus: int
    """The value of run.gpus."""
    plan: Candidate | None
    """The fastest plan that fits or may fit; None if nothing does."""
    proposed: bool
    """The choice that is proposed: as few cards as are enough."""
    why: str
    """The reason for or against it."""


def cards_choices(
    machine: Machine, recipe: Recipe, base: Path, base_is_open: bool = False, rows: TokenStats | None = None
) -> tuple[CardsChoice, ...]:
    """One card, and all cards together; none where the machine has one card, or the recipe says which.

    base, base_is_open, rows: as for `forecast_on` and `fit`. Raises UserError as `forecast_on` for one card.
    """
    count = sum(gpu.allowed for gpu in machine.gpus)
    if count < 2 or recipe.run.gpus != "auto" or recipe.run.gpu is not None or any(gpu.mig for gpu in machine.gpus):
        return ()
    return tuple(_judged(list(_plans(machine, recipe, base, base_is_open, rows, count))))


def _plans(
    machine: Machine, recipe: Recipe, base: Path, base_is_open: bool, rows: TokenStats | None, count: int
) -> Iterator[tuple[int, Candidate | None, str]]:
    for gpus in (1, count):
        try:
            asked = forecast_on(machine, changed(recipe, {"run.gpus": gpus}), base, rows)
        except UserError as error:  # as a step whose rows so many cards can't share
            if gpus == 1:
                raise
            yield gpus, None, str(error)
            continue
        found = fit(asked, base_is_open)
        yield gpus, found.plan, found.reason


def _judged(found: list[tuple[int, Candidate | None, str]]) -> Iterator[CardsChoice]:
    (_, one, why_one), (count, all_cards, why_all) = found
    one_fits, all_fit = one is not None and one.fits, all_cards is not None and all_cards.fits
    gain = all_cards.speed / one.speed if one and all_cards and one.speed else 0.0
    take_all = all_fit and (not one_fits or gain >= WORTH_MORE_CARDS)
    if one_fits and all_fit:
        why_all = f"about {gain:.1f} times as fast as one card" if gain >= 1 else "slower than one card"
        why_one = "enough: more cards are hardly faster" if not take_all else "it fits, and leaves the others free"
    elif all_cards and all_cards.recipe.run.shard is True:
        why_all = "no card has room for the whole model: it is split over them"
    yield CardsChoice(1, one, not take_all, why_one)
    yield CardsChoice(count, all_cards, take_all, why_all)
