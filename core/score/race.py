"""The race of learning rates: short trainings of four rates, and longer ones of the best of them and those beside it.

Successive halving (Jamieson and Talwalkar 2016) over rates a factor of two apart, with laps three times as long in the
last round (Li et al. 2018, Hyperband). As long as there is time, a round goes on until its best rate was raced together
with half and with twice of it: where the highest or the lowest wins, a better one may lie beyond. A lap is judged after
its rate has fallen to 0, as losses before that favour rates that are too low. Measured on public runs (pichak, 2026):
such a race beats the one rate of the guides on three data sets of four, and tuned searches don't beat it.

The lowest loss wins. That of a few rows is too noisy: of 17 held-out rows of GSM8K it chose a rate whose whole training
ended 3.3 % above the best. By 100 rows, and with longer last laps, the rate of the second best was chosen, which ended
1.3 % above it (bench/results/race_h200_2026-11-30.jsonl). So each lap is judged by about as many rows as a short lap
trains on: by 128 rows, in 3 minutes, it chose the rate whose whole training ended 0.5 % above the best of seven, on
1,319 rows that none of them saw (bench/results/race_h200_2026-11-30b.jsonl). Where two rates are within noise nothing
tells which is better in a longer training: in the recorded races it was once the lower and once the higher one, so the
last round has both sides of the best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isclose

from fitune.core.score.losses import SURELY_WORSE, Look, Looks, errors_above

FACTORS = (0.5, 1.0, 2.0, 4.0)
"""The rates in the race, as multiples of the recipe's."""
HIGHEST = 1.0
LONGER = 3
"""So many times the steps of a lap of the first round has one of the last, if the time is as it was planned."""
PLANNED = (len(FACTORS) + 1, 3)
"""Laps of each round for which its steps are chosen: a rate beside those that it begins with is raced in most of the
first, and the last has the best with its neighbours."""
LEAST_STEPS = 10
"""Steps of the first round below which a race says nothing."""
MOST_LOOK_ROWS = 128
"""Held-out rows by which a lap is judged, at most: the noise of a loss falls with their square root."""
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
    level: tuple[float, ...] = ()
    """Rates of the last round whose loss is higher than that of the best one only within chance."""


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
class Standing:
    """The looks at the held-out rows after the laps of a round."""

    tokens: Sequence[int]
    """Of the held-out rows."""
    looks: dict[float, Look] = field(default_factory=dict)
    """By the rates of the laps."""

    @property
    def best(self) -> float | None:
        """The rate with the lowest loss; None before a lap that did not diverge."""
        return min(self.looks, key=lambda lr: Looks(tuple(self.tokens)).mean(self.looks[lr]), default=None)

    @property
    def level(self) -> tuple[float, ...]:
        """The other rates that are not surely worse than the best, the lowest first."""
        best = self.best
        return tuple(
            lr
            for lr, look in sorted(self.looks.items())
            if best is not None and lr != best and errors_above(look, self.looks[best], self.tokens) <= SURELY_WORSE
        )


def rates(lr: float) -> tuple[float, ...]:
    """The rates that race where the recipe says `lr`."""
    return tuple(_rounded(factor * lr) for factor in FACTORS)


def look_rows(step_rows: int) -> int:
    """The held-out rows by which laps are judged. step_rows: that a step trains on. To look at a row takes a third of
    the time of training on it, so all looks take less than a third of the shortest laps."""
    return min(MOST_LOOK_ROWS, LEAST_STEPS * step_rows)


def first_steps(budget_s: float, pace: Pace, full_steps: int) -> int:
    """The steps of a lap in the first round, so that all planned laps take `budget_s` seconds: whole trainings, and no
    further round, if there is time for them. 0 if the time is too short."""
    first, last = PLANNED
    if _whole_s(pace, full_steps) <= budget_s:
        return full_steps
    steps = int((budget_s - (first + last) * pace.around_s) / ((first + LONGER * last) * pace.step_s))
    steps = min(steps, full_steps // LONGER)
    return steps if steps >= LEAST_STEPS else 0


def least_s(pace: Pace, full_steps: int) -> float:
    """The seconds from which `first_steps` gives any."""
    first, last = PLANNED
    whole_s = _whole_s(pace, full_steps)
    if full_steps < LONGER * LEAST_STEPS:
        return whole_s
    return min(whole_s, first * pace.of(LEAST_STEPS) + last * pace.of(LONGER * LEAST_STEPS))


def _whole_s(pace: Pace, full_steps: int) -> float:
    return (PLANNED[0] + 1) * pace.of(full_steps)


def last_steps(left_s: float, pace: Pace, first: int, full_steps: int) -> int:
    """The steps of a lap in the last round, so that its planned laps take the seconds that are left; at least twice
    those of the first round, `first`, and at most those of the whole training."""
    fitting = int((left_s / PLANNED[1] - pace.around_s) / pace.step_s)
    return min(full_steps, max(2 * first, fitting))


def finalists(laps: Sequence[Lap]) -> tuple[float, ...]:
    """The rates of the last round: the best one, and half and twice of it, as they were written in the first round if
    they were raced there; none that diverged."""
    going = sorted((lap for lap in laps if lap.held_out is not None), key=lambda lap: lap.held_out or 0.0)
    if not going:
        return ()
    best = going[0].lr
    around = (_as_raced(factor * best, laps) for factor in (0.5, 2.0) if factor * best <= HIGHEST)
    diverged = {lap.lr for lap in laps if lap.held_out is None}
    return (best, *(lr for lr in around if lr not in diverged))


def beside(laps: Sequence[Lap]) -> float | None:
    """The rate to race next in a round: twice or half the best, if that is not among its laps yet; half the lowest if
    all diverged."""
    best = min((lap for lap in laps if lap.held_out is not None), key=lambda lap: lap.held_out or 0.0, default=None)
    if best is None:
        return _rounded(min(lap.lr for lap in laps) / 2)
    raced = [lap.lr for lap in laps]
    around = [_as_raced(factor * best.lr, laps) for factor in (2.0, 0.5) if factor * best.lr <= HIGHEST]
    return next((lr for lr in around if lr not in raced), None)


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


def _as_raced(lr: float, laps: Sequence[Lap]) -> float:
    """A rate as a lap had it, which may be rounded otherwise."""
    return next((lap.lr for lap in laps if isclose(lr, lap.lr, rel_tol=0.02)), _rounded(lr))


def _rounded(lr: float) -> float:
    return float(f"{lr:.3g}")
