"""Paired statistics: what a difference on the same rows is worth.

Two models answer the same rows, so each row is compared with itself. Right or wrong is tested by McNemar's exact test
(McNemar 1947), numbers by a paired bootstrap over the rows (Efron 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, inf, sqrt

Z_95 = 1.96
Z_SURE, Z_POWER = 2.576, 0.842
"""Quantiles of the normal distribution: a two-sided error of 1 %, and a power of 80 %."""
RESAMPLES = 4000


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
    over tokens. The p is the share of resampled means on the other side of 0, twice."""
    import numpy  # a tenth of a second that quick commands don't spend

    differences = numpy.asarray(tuned, float) - numpy.asarray(base, float)
    share = numpy.ones(len(differences)) if weights is None else numpy.asarray(weights, float)
    weighted = differences * share
    mean = float(weighted.sum() / share.sum())
    drawn = numpy.random.default_rng(0).integers(0, len(differences), (RESAMPLES, len(differences)))
    means = weighted[drawn].sum(1) / share[drawn].sum(1)
    low, high = (float(edge) for edge in numpy.percentile(means, (2.5, 97.5)))
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (float(beyond) + 1) / (RESAMPLES + 1))
    deviation = float(numpy.sqrt(((weighted - mean * share) ** 2).mean()) / share.mean())
    return Difference(mean, low, high, p, deviation)


def rows_needed(difference: float, deviation: float) -> float:
    """Rows on which such a difference would be told from 0 in 8 of 10 trials, with an error of 1 %. Infinite for a
    difference of 0."""
    return ceil(((Z_SURE + Z_POWER) * deviation / difference) ** 2) if difference else inf
