"""The race of learning rates: short trainings, of which the better half trains on for twice as many steps.

Successive halving (Jamieson and Talwalkar 2016) over four rates, a factor of two apart. Each lap is a training by
itself with its whole schedule, as losses before the rate has decayed favour rates that are too low. Measured on public
runs (pichak, 2026): such a race beats the one rate of the guides on three data sets of four, and tuned searches don't
beat it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FACTORS = (0.5, 1.0, 2.0, 4.0)
"""The rates in the race, as multiples of the recipe's."""
LEAST_STEPS = 10
"""Steps of the first round below which a race says nothing."""
ROUNDS = 2
EVALUATION_SHARE = 0.2
"""The part of the time that evaluations and the making of trainers take."""


@dataclass(frozen=True, slots=True)
class Lap:
    """A training in the race."""

    lr: float
    """Its learning rate."""
    steps: int
    """Its optimizer steps."""
    losses: tuple[float, ...]
    """Training loss of each step, in nats a token."""
    held_out: float | None
    """Loss of the held-out rows at its end; null where it is no number."""
    elapsed_s: float
    """Seconds that it took."""


@dataclass(frozen=True, slots=True)
class Race:
    """The content of race.json."""

    laps: tuple[Lap, ...]
    """The trainings in the order in which they were made."""
    best_lr: float | None
    """The rate that won; null if every training diverged."""


def goes_on(scheduler: str, replay: float) -> bool:
    """True if a lap takes the same steps as the training itself (up to the random choice of dropout), which can then go
    on from it: its rate does not depend on the number of steps, and it trains on the same rows. scheduler, replay: of
    the recipe."""
    return scheduler == "constant" and not replay


def rates(lr: float) -> tuple[float, ...]:
    """The rates that race where the recipe says `lr`."""
    return tuple(float(f"{factor * lr:.3g}") for factor in FACTORS)


def steps_of_rounds(budget_s: float, step_s: float, full_steps: int) -> tuple[int, ...]:
    """The steps of a lap in each round, doubling, so that all laps take `budget_s` seconds; the last round never takes
    more steps than the training itself. Empty if the time is too short."""
    laps = sum(len(FACTORS) // 2**number * 2**number for number in range(ROUNDS))
    first = int(budget_s * (1 - EVALUATION_SHARE) / (laps * step_s))
    first = min(first, full_steps // 2 ** (ROUNDS - 1))
    return tuple(first * 2**number for number in range(ROUNDS)) if first >= LEAST_STEPS else ()


def better_half(laps: Sequence[Lap]) -> tuple[float, ...]:
    """The rates of the laps with the lowest held-out losses, half of them and at least one; none that diverged."""
    ranked = sorted((lap for lap in laps if lap.held_out is not None), key=lambda lap: lap.held_out or 0.0)
    return tuple(lap.lr for lap in ranked[: max(1, len(laps) // 2)])
