"""The race of learning rates: short trainings of four rates, and twice as long ones around the best of them.

Successive halving (Jamieson and Talwalkar 2016) over rates a factor of two apart. As long as there is time, a round
goes on until its best rate was raced together with half and with twice of it: where the highest or the lowest wins, a
better one may lie beyond. A lap is judged after its rate has fallen to 0, as losses before that favour rates that are
too low. Measured on public runs (pichak, 2026): such a race beats the one rate of the guides on three data sets of
four, and tuned searches don't beat it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isclose

from fitune.core.score.losses import Look, Looks, errors_above

FACTORS = (0.5, 1.0, 2.0, 4.0)
"""The rates in the race, as multiples of the recipe's."""
HIGHEST = 1.0
FINALISTS = 2
"""Rates of the first round with which the last one begins."""
PLANNED = (len(FACTORS) + 1, FINALISTS + 1)
"""Laps of each round for which its steps are chosen: a rate beside those that it begins with is raced in most."""
LEAST_STEPS = 10
"""Steps of the first round below which a race says nothing."""
FALL = 0.2
"""The share of a lap's steps in which its rate falls to 0."""

NO_ROWS = (
    "A race needs held-out rows to judge by, and of these rows none are held out.",
    "Add rows, or set data.eval_fraction to a larger share.",
)
"""Why there is no race without them, and what to do."""


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


@dataclass(frozen=True, slots=True)
class Pace:
    """The time that laps take."""

    around_s: float
    """Seconds besides the steps: a trainer is made, and the held-out rows are looked at."""
    step_s: float
    """Seconds of a step."""

    def of(self, steps: int) -> float:
        """Seconds of a lap."""
        return self.around_s + steps * self.step_s


@dataclass(slots=True)
class Lead:
    """The rate that is ahead of the others in a round."""

    tokens: Sequence[int]
    """Of the held-out rows."""
    is_whole: bool
    """True where laps are whole trainings: then the lowest loss wins. Of short ones within noise the lower rate wins,
    as the best rate falls with the length of the training."""
    lr: float | None = None
    look: Look | None = None
    """At the held-out rows, after its lap."""

    def passes(self, lr: float, look: Look) -> bool:
        """Whether a rate passes it, which then is ahead. look: after its lap."""
        if self.lr is not None and self.look is not None and not self._is_passed(lr, look, self.lr, self.look):
            return False
        self.lr, self.look = lr, look
        return True

    def _is_passed(self, lr: float, look: Look, led_by: float, led: Look) -> bool:
        if self.is_whole:
            looks = Looks(tuple(self.tokens))
            return looks.mean(look) < looks.mean(led)
        if lr < led_by:
            return errors_above(look, led, self.tokens) <= 1
        return errors_above(led, look, self.tokens) > 1


def rates(lr: float) -> tuple[float, ...]:
    """The rates that race where the recipe says `lr`."""
    return tuple(_rounded(factor * lr) for factor in FACTORS)


def steps_of_rounds(budget_s: float, pace: Pace, full_steps: int) -> tuple[int, ...]:
    """The steps of a lap in each round, so that all planned laps take `budget_s` seconds: one round of whole trainings
    if there is time for them, else two, the last with twice the steps. Empty if the time is too short."""
    first, last = PLANNED
    if (first + 1) * pace.of(full_steps) <= budget_s:
        return (full_steps,)
    steps = int((budget_s - (first + last) * pace.around_s) / ((first + 2 * last) * pace.step_s))
    steps = min(steps, full_steps // 2)
    return (steps, 2 * steps) if steps >= LEAST_STEPS else ()


def finalists(laps: Sequence[Lap]) -> tuple[float, ...]:
    """The rates of the laps with the lowest held-out losses, the best first; none that diverged."""
    ranked = sorted((lap for lap in laps if lap.held_out is not None), key=lambda lap: lap.held_out or 0.0)
    return tuple(lap.lr for lap in ranked[:FINALISTS])


def beside(laps: Sequence[Lap]) -> float | None:
    """The rate to race next in a round: twice or half the best, if that is not among its laps yet; half the lowest if
    all diverged."""
    best = finalists(laps)[:1]
    if not best:
        return _rounded(min(lap.lr for lap in laps) / 2)
    raced = [lap.lr for lap in laps]
    around = [_rounded(factor * best[0]) for factor in (2, 0.5) if factor * best[0] <= HIGHEST]
    return next((lr for lr in around if not any(isclose(lr, each, rel_tol=0.02) for each in raced)), None)


def falling(share: Callable[[int], float], own_steps: int, steps: int) -> Callable[[int], float]:
    """The schedule of a lap of `steps` steps: another one up to the step `own_steps`, and a fall to 0 from there.

    share: the rate at a step, as a share of the highest, and so is what this returns.
    """

    def at(step: int) -> float:
        if step <= own_steps:
            return share(step)
        return min(share(step), share(own_steps) * (steps - step) / (steps - own_steps))

    return at


def own_steps(steps: int) -> int:
    """The steps of a lap before its rate falls to 0."""
    return steps - max(1, round(FALL * steps))


def _rounded(lr: float) -> float:
    return float(f"{lr:.3g}")
