"""The choice of a checkpoint by the losses of held-out rows, and the end of a training that can't get better.

Each look at the held-out rows gives the loss of every row. Two looks are compared row by row, so that the noise of the
choice of rows falls out: a look is within noise of the best if its mean loss is at most one standard error of the
paired difference above it (the one-standard-error rule, Breiman et al. 1984). Where losses only wander the earliest
such look is delivered: it has moved least away from the base model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

SURELY_WORSE = 2.0
"""Standard errors above the best from which a look counts as worse: chance makes that in 1 of 40."""


@dataclass(frozen=True, slots=True)
class Look:
    """The losses of the held-out rows after a step; step 0 is the base model."""

    step: int
    """The step after which it was taken."""
    losses: tuple[float, ...]
    """Mean loss of each row's trained tokens, in nats a token."""


@dataclass(frozen=True, slots=True)
class Looks:
    """All looks of a run at the same rows, in order."""

    tokens: tuple[int, ...]
    """Trained tokens of each row."""
    looks: tuple[Look, ...] = ()
    """The looks, by their steps."""

    def mean(self, look: Look) -> float:
        """The loss over all tokens of the rows."""
        return sum(map(float.__mul__, look.losses, map(float, self.tokens))) / sum(self.tokens)

    def add(self, look: Look) -> "Looks":
        """The looks with one more; those of the same or a later step, of before a resume, are void."""
        return Looks(self.tokens, (*(each for each in self.looks if each.step < look.step), look))

    @property
    def trained(self) -> tuple[Look, ...]:
        """The looks at a model that was trained."""
        return tuple(look for look in self.looks if look.step > 0)


def errors_above(look: Look, best: Look, tokens: Sequence[int]) -> float:
    """How far a look's loss lies above another's, in standard errors of the paired difference over the rows.

    The loss is a ratio of sums over rows (nats by tokens), and so is its error (Cochran, Sampling Techniques, 6.3).
    """
    rows, total = len(tokens), sum(tokens)
    differences = [one - other for one, other in zip(look.losses, best.losses, strict=True)]
    mean = sum(each * count for each, count in zip(differences, tokens, strict=True)) / total
    if rows < 2 or mean <= 0:
        return 0.0 if mean <= 0 else float("inf")
    spread = sum(((each - mean) * count) ** 2 for each, count in zip(differences, tokens, strict=True))
    error = sqrt(spread * rows / (rows - 1)) / total
    return mean / error if error > 0 else float("inf")


def best(looks: Looks) -> Look | None:
    """The look with the lowest loss after a step of training; None before the first."""
    return min(looks.trained, key=looks.mean, default=None)


def delivered(looks: Looks) -> Look | None:
    """The look whose adapter is delivered: the earliest within noise of the best; None before the first."""
    lowest = best(looks)
    if lowest is None:
        return None
    return next(look for look in looks.trained if errors_above(look, lowest, looks.tokens) <= 1)


def is_over(looks: Looks, patience: int) -> bool:
    """True if the newest `patience` looks were all surely worse than the best: more steps only overfit.

    Losses that wander within noise end no training: as the learning rate falls they often fall once more.
    """
    lowest, newest = best(looks), looks.trained[-patience:]
    if not patience or lowest is None or len(newest) < patience:
        return False
    return all(look.step > lowest.step and _is_surely_worse(look, lowest, looks) for look in newest)


def is_worse_than_base(look: Look, looks: Looks) -> bool:
    """True if the look is surely worse than the base model, whose look has step 0."""
    base = next((each for each in looks.looks if each.step == 0), None)
    return base is not None and _is_surely_worse(look, base, looks)


def _is_surely_worse(look: Look, other: Look, looks: Looks) -> bool:
    return errors_above(look, other, looks.tokens) > SURELY_WORSE
