"""Micro-batches by their tokens: how the rows of a step are split, and the largest that is to be expected."""

import math
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate

RISK = 0.1
"""The chance put into the bound that any micro-batch of a whole training is larger. The bound is loose: with made-up
rows as long as real ones no epoch went above it, and it lay up to 14 % above the largest micro-batch (tests)."""
THETAS = tuple(2.0**power for power in range(-16, 3))
"""Steps of the search, in 1 / tokens: from rows of thousands of tokens to rows of a few."""
DRAWN_ROWS, MOST_ROWS = 2048, 256
"""Rows that are drawn to learn how an average batch is split, and the most of one batch; larger ones do alike."""


def split_rows(lengths: Sequence[int], most_tokens: int, padded: bool = False) -> list[list[int]]:
    """Split rows into as few micro-batches as will hold them, each of at most `most_tokens`; lists of row numbers.

    A row is never cut, so one that is longer stands alone. The longest row comes first, each into the fullest
    micro-batch that has room (best fit). padded: rows are filled up to the longest of their micro-batch, so each may
    only join the newest one, whose rows are nearest to it in length.
    """
    micro_batches: list[list[int]] = []
    tokens: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        open_ones = range(max(0, len(tokens) - 1), len(tokens)) if padded else range(len(tokens))
        sizes = [(tokens[at] + (lengths[micro_batches[at][0]] if padded else lengths[row]), at) for at in open_ones]
        if fitting := [(size, at) for size, at in sizes if size <= most_tokens]:
            size, at = max(fitting)
            tokens[at] = size
            micro_batches[at].append(row)
        else:
            micro_batches.append([row])
            tokens.append(lengths[row])
    return micro_batches


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


def rows_within(lengths: Sequence[int], count: int, most_tokens: int) -> list[int]:
    """The longest row, and the longest `count` - 1 neighbours that keep within `most_tokens` together with it.

    lengths: ascending. The shortest rows are taken if no others do.
    """
    last, others = len(lengths) - 1, min(count, len(lengths)) - 1
    ends = [0, *accumulate(lengths)]
    starts = range(last - others, 0, -1)
    first = next((at for at in starts if ends[at + others] - ends[at] + lengths[last] <= most_tokens), 0)
    return [*range(first, first + others), last]


def mean_split(lengths: Mapping[int, int], rows: int, most_tokens: int, padded: bool) -> tuple[float, float]:
    """(micro-batches, tokens with padding) of an average batch of `rows` rows, from some that are drawn.

    lengths: tokens of a row -> how many rows. most_tokens, padded: as for `split_rows`.
    """
    dice, drawn_rows = random.Random(0), min(rows, MOST_ROWS)
    batches = max(1, DRAWN_ROWS // drawn_rows)
    parts = tokens = 0
    for _ in range(batches):
        drawn = dice.choices(list(lengths), list(lengths.values()), k=drawn_rows)
        split = split_rows(drawn, most_tokens, padded)
        parts += len(split)
        tokens += sum(drawn[part[0]] * len(part) for part in split) if padded else sum(drawn)
    share = rows / drawn_rows / batches
    return parts * share, tokens * share
