"""Paired statistics: what a difference on the same rows is worth.

Two models answer the same rows, so each row is compared with itself. Right or wrong is tested by McNemar's exact test
(McNemar 1947), numbers by paired bootstraps over the rows (Efron 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, inf, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

Z_95 = 1.96
Z_SURE, Z_POWER = 2.576, 0.842
"""Quantiles of the normal distribution: a two-sided error of 1 %, and a power of 80 %."""
RESAMPLES = 4000
LEAST_ERROR = 1e-9
"""A standard error is not below this share of the mean: rows that all differ by the same do so but for rounding."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference between two models on the same rows, tuned minus base."""

    mean: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p: float
    """Probability of a difference at least as large where there is none, two-sided."""
    deviation: float
    """Standard deviation of one row's difference, for the number of rows that would be needed."""


def of_right(base: Sequence[bool], tuned: Sequence[bool]) -> Difference:
    """Compare right and wrong answers, as shares. The interval is Agresti and Min's (2005): it has a width even where
    no row differs."""
    gained = sum(after and not before for before, after in zip(base, tuned, strict=True))
    lost = sum(before and not after for before, after in zip(base, tuned, strict=True))
    rows = len(base)
    mean = (gained - lost) / rows
    middle = (gained - lost) / (rows + 2)
    error = sqrt(gained + lost + 1 - (gained - lost) ** 2 / (rows + 2)) / (rows + 2)
    low, high = max(-1.0, middle - Z_95 * error), min(1.0, middle + Z_95 * error)
    deviation = sqrt(max(0.0, (gained + lost) / rows - mean**2))
    return Difference(mean, min(low, mean), max(high, mean), mcnemar(gained, lost), deviation)


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact two-sided p of so many rows that only one of the two models has right."""
    changed = gained + lost
    tail = sum(comb(changed, count) for count in range(min(gained, lost) + 1))
    return float(min(1.0, 2 * tail / 2**changed))


def share_interval(count: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share of rows, by Wilson's score (1927): it stays within 0 and 1."""
    share, square = count / rows, Z_95**2 / rows
    middle = (share + square / 2) / (1 + square)
    half = sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def of_numbers(base: Sequence[float], tuned: Sequence[float], weights: Sequence[float] | None = None) -> Difference:
    """Compare a number of each row by a paired bootstrap. weights: of the rows, as tokens where the number is a mean
    over tokens. The interval is that of the percentiles."""
    import numpy  # a tenth of a second that quick commands don't spend

    differences = numpy.asarray(tuned, float) - numpy.asarray(base, float)
    share = numpy.ones(len(differences)) if weights is None else numpy.asarray(weights, float)
    mean, means, p = bootstrapped(differences, share)
    low, high = (float(edge) for edge in numpy.percentile(means, (2.5, 97.5)))
    deviation = float(numpy.sqrt(((share * (differences - mean)) ** 2).mean()) / share.mean())
    return Difference(float(mean), low, high, float(p), deviation)


def bootstrapped(differences: "Numbers", weights: "Numbers") -> tuple["Numbers", "Numbers", "Numbers"]:
    """The weighted mean of the rows' differences, the means of RESAMPLES resamples, and the two-sided p: the larger
    one of two bootstraps. A second axis holds other trials.

    The percentiles' p is the share of resampled means on the other side of 0, twice. Where rows lie far out on one side
    it is too small, since a sample that misses them has a wrong mean and too narrow a spread. The studentised p
    (Efron 1982, Hall 1988) measures how far a resampled mean is from the mean in its own standard errors, and allows
    for that; where few rows differ at all it is the smaller one."""
    import numpy

    mean = (weights * differences).sum(0) / weights.sum(0)
    rest = weights * (differences - mean)
    least = LEAST_ERROR * abs(mean)
    error = numpy.maximum(numpy.sqrt((rest**2).sum(0)) / weights.sum(0), least)
    times = _times_drawn(len(differences))
    totals = times @ weights
    means = times @ (weights * differences) / totals
    off = means - mean
    squares = times @ rest**2 - 2 * off * (times @ (rest * weights)) + off**2 * (times @ weights**2)
    errors = numpy.maximum(numpy.sqrt(numpy.maximum(squares, 0)) / totals, least)
    scaled, distance = off * error, mean * errors
    percentiles = numpy.minimum((means <= 0).sum(0), (means >= 0).sum(0))
    studentised = numpy.minimum((scaled <= distance).sum(0), (scaled >= distance).sum(0))
    beyond = numpy.maximum(percentiles, studentised)
    return mean, means, numpy.minimum(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))


def _times_drawn(rows: int) -> "Numbers":
    """How often each row is in each resample."""
    import numpy

    drawn = numpy.random.default_rng(0).integers(0, rows, (RESAMPLES, rows))
    drawn += rows * numpy.arange(RESAMPLES)[:, None]
    return numpy.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(float)


def rows_needed(difference: float, deviation: float) -> float:
    """Rows on which such a difference would be told from 0 in 8 of 10 trials, with an error of 1 %. Infinite for a
    difference of 0."""
    return ceil(((Z_SURE + Z_POWER) * deviation / difference) ** 2) if difference else inf
