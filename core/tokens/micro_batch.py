"""The largest micro-batch that is to be expected when rows of known lengths are drawn at random."""

import math
from collections.abc import Mapping

RISK = 0.1
"""The chance put into the bound that any micro-batch of a whole training is larger. The bound is loose: with made-up
rows as long as real ones no epoch went above it, and it lay up to 14 % above the largest micro-batch (tests)."""
THETAS = tuple(2.0**power for power in range(-16, 3))
"""Steps of the search, in 1 / tokens: from rows of thousands of tokens to rows of a few."""


def largest_micro_batch(lengths: Mapping[int, int], rows: int, batches: float) -> int:
    """Tokens that hardly any training's largest micro-batch will exceed.

    lengths: tokens of a row -> how many rows. rows: of a micro-batch, laid end to end without padding. batches:
    micro-batches of the whole training. By Chernoff's bound: the chance that a sum of n independent lengths X exceeds t
    is at most E[exp(s X)]^n exp(-s t) for every s > 0. Drawing without putting back, as a training does, spreads less.
    """
    if not lengths:
        return 0
    longest, total = max(lengths), sum(lengths.values())
    surprise = math.log(max(1.0, batches) / RISK)

    def bound(theta: float) -> float:
        mean = sum(count * math.exp(theta * (size - longest)) for size, count in lengths.items()) / total
        return (rows * (theta * longest + math.log(mean)) + surprise) / theta

    return min(rows * longest, math.ceil(min(map(bound, THETAS))))
