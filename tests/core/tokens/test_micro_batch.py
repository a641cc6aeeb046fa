"""The largest micro-batch: never exceeded by random draws, and far below as many of the longest row. Splits."""

import random
from collections import Counter
from statistics import mean

import pytest

from fitune.core.tokens.micro_batch import largest_micro_batch, mean_split, rows_within, split_rows

DICE = random.Random(7)
GSM8K = Counter(min(532, max(60, round(DICE.lognormvariate(5.22, 0.4)))) for _ in range(7473))
"""Rows as long as those of GSM8K in tokens: 200 on average, 532 at most."""
WILD = Counter({100: 900, 400: 80, 8000: 20})


@pytest.mark.parametrize(
    "lengths", [GSM8K, WILD, Counter({50: 10}), Counter({1: 5, 2: 5})], ids=["even", "wild", "one", "few"]
)
@pytest.mark.parametrize("rows", [1, 2, 8, 32])
def test_no_epoch_of_draws_exceeds_it(lengths: Counter[int], rows: int) -> None:
    dice, all_rows = random.Random(3), list(lengths.elements())
    batches = max(1, len(all_rows) // rows)
    bound = largest_micro_batch(lengths, rows, batches)
    for _ in range(5):
        dice.shuffle(all_rows)
        sums = [sum(all_rows[at : at + rows]) for at in range(0, len(all_rows), rows)]
        assert max(sums) <= bound <= rows * max(lengths)


def test_it_is_near_what_really_comes() -> None:
    bound = largest_micro_batch(GSM8K, 8, 935)
    dice, rows = random.Random(1), list(GSM8K.elements())
    dice.shuffle(rows)
    largest = max(sum(rows[at : at + 8]) for at in range(0, len(rows), 8))
    assert largest <= bound < 1.15 * largest
    assert bound < 0.75 * 8 * max(GSM8K)


def test_one_row_at_a_time_is_the_longest_and_no_rows_are_nothing() -> None:
    assert largest_micro_batch(GSM8K, 1, 7473) == max(GSM8K)
    assert largest_micro_batch({}, 8, 1) == 0


@pytest.mark.parametrize(("rows", "batches"), [(8, 935), (2, 3700), (1, 7473), (32, 100)])
def test_rows_with_about_as_many_tokens_as_the_largest_micro_batch_hold_the_longest(rows: int, batches: int) -> None:
    lengths = sorted(GSM8K.elements())
    bound = largest_micro_batch(GSM8K, rows, batches)
    chosen = [lengths[at] for at in rows_within(lengths, rows, bound)]
    assert len(chosen) == rows
    assert max(chosen) == max(GSM8K)
    assert 0.97 * bound < sum(chosen) <= bound


def test_rows_that_all_go_above_the_tokens_are_the_longest_with_the_shortest() -> None:
    assert rows_within([3, 4, 5, 9], 3, 10) == [0, 1, 3]
    assert rows_within([3, 9], 8, 10) == [0, 1]
    assert rows_within([3, 4, 5, 9], 1, 2) == [3]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("rows", [4, 32, 1000])
def test_the_split_of_an_average_batch_is_that_of_many(rows: int, padded: bool) -> None:
    dice, lengths = random.Random(5), {50: 30, 200: 20, 900: 5, 3000: 1}
    parts, tokens = mean_split(lengths, rows, 4096, padded)
    batches = [dice.choices(list(lengths), list(lengths.values()), k=rows) for _ in range(8000 // rows)]
    splits = [split_rows(batch, 4096, padded) for batch in batches]
    assert parts == pytest.approx(mean(map(len, splits)), rel=0.1)
    filled = [
        sum(batch[part[0]] * len(part) if padded else sum(batch[row] for row in part) for part in split)
        for batch, split in zip(batches, splits, strict=True)
    ]
    assert tokens == pytest.approx(mean(filled), rel=0.15)
