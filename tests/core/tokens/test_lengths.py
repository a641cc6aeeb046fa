"""Answers about any length, held against counting row by row; the file."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import orjson
import pytest

from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe
from fitune.core.tokens.lengths import STATS_FILE, Example, Token, TokenStats, to_json
from tests.core.tokens.token_rows import TokenRow, prepared


def some_rows(seed: int) -> list[TokenRow]:
    random = Random(seed)
    rows: list[TokenRow] = []
    for _ in range(random.randint(1, 60)):
        edges = sorted(random.sample(range(1, 80), random.choice([0, 2, 2, 4])))
        spans = list(zip(edges[::2], edges[1::2], strict=True))
        rows.append((max(1, spans[-1][1] if spans else 0, random.randint(1, 90)), spans))
    return rows


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("length", [1, 20, 50, 80, 1000])
def test_what_a_length_costs_is_what_counting_row_by_row_finds(seed: int, length: int) -> None:
    rows = some_rows(seed)
    found = prepared(rows)
    kept = [(size, spans) for size, spans in rows if spans and spans[0][0] < length]
    trained = sum(min(end, length) - min(first, length) for _, spans in rows for first, end in spans)
    lost = found.truncation_at(length)
    assert found.trained_tokens(length) == trained
    assert lost.trained_tokens == found.trained_tokens() - trained
    assert lost.rows == sum(size > length for size, _ in rows)
    assert lost.emptied == sum(bool(spans) and spans[0][0] >= length for _, spans in rows)
    gone = [0 if size <= length else size if spans and spans[0][0] >= length else size - length for size, spans in rows]
    assert lost.tokens == sum(gone)
    assert sorted(found.lengths_at(length).elements()) == sorted(min(size, length) for size, _ in kept)
    assert found.blank == sum(not spans for _, spans in rows)
    assert found.longest_at(length) == min(length, max(size for size, _ in rows))


def test_a_micro_batch_is_as_long_as_its_longest_row() -> None:
    found = prepared([(10, [(1, 10)]), (20, [(1, 20)])])
    assert found.padded_length(100, 1) == pytest.approx(15)
    assert found.padded_length(100, 2) == pytest.approx(17.5)  # 10 once in four draws with replacement
    assert found.padded_length(15, 2) == pytest.approx(13.75)
    assert found.padding_share(100, 2) == pytest.approx(1 - 15 / 17.5)
    assert found.padding_share(100, 1) == pytest.approx(0)


@pytest.mark.parametrize("bins", [2, 3, 20, 200])
@pytest.mark.parametrize("cut", [None, 1, 40, 85, 5000])
def test_every_row_is_in_one_bar_of_the_histogram_and_none_straddles_the_cut(bins: int, cut: int | None) -> None:
    rows = some_rows(3)
    bars = prepared(rows).histogram(bins, cut)
    assert 1 < len(bars) <= bins
    for bar, after in pairwise(bars):
        assert bar.low < bar.high == after.low
    for bar in bars:
        assert bar.rows == sum(bar.low <= size < bar.high for size, _ in rows)
        assert cut is None or bar.high <= cut + 1 or bar.low > cut
    assert sum(bar.rows for bar in bars) == len(rows)


def test_no_rows_are_no_error() -> None:
    found = prepared([])
    assert (found.longest, found.total_tokens, found.padded_length(10, 2), found.padding_share(10, 2)) == (0, 0, 0, 0)
    assert found.covering(0.9) == 0
    assert sum(bar.rows for bar in found.histogram()) == 0


def test_a_length_covers_a_share_of_the_rows() -> None:
    found = prepared([(size, [(1, size)]) for size in range(10, 110)])
    assert found.covering(0.9) == 100
    assert found.covering(1.0) == 109


def test_held_out_rows_are_not_trained_on(recipe: Callable[..., Recipe]) -> None:
    found = prepared([(11, [(1, 11)])] * 1000)
    assert found.trained_per_epoch(recipe(data={"eval_fraction": 0})) == 10_000
    assert found.trained_per_epoch(recipe(data={"eval_fraction": 0.02})) == 9_800


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    example = Example(3, 9, (Token("<s>", False, True), Token(" So", True, False), Token("</s>", True, True)))
    found = prepared(some_rows(1), examples=(example,), refused=2, why_refused="no", plain_template=True)
    (tmp_path / STATS_FILE).write_bytes(orjson.dumps(to_json(found)))
    assert TokenStats.read(tmp_path) == found


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b'{"tokens": ["a"]}', b'{"examples": 1}'])
def test_an_answer_that_is_not_there_or_broken_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / STATS_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"prepared\.json can't be read"):
        TokenStats.read(tmp_path)
