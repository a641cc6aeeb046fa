"""Rows token by token: what is trained shows without colour, hostile text is harmless, bars say where rows are cut."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fitune.core.recipe.load import Recipe
from fitune.core.tokens.lengths import Example, Token
from fitune.tui.data.token_text import example_text, histogram_lines, legend, summary_lines
from tests.core.tokens.test_findings import rows_of
from tests.tui.payloads import OBEYED, PAYLOADS

EXAMPLE = Example(
    0,
    6,
    (
        Token("<s>", False, True), Token("Why?", False, False), Token("\n", False, False),
        Token("So", True, False), Token(".", True, False), Token("</s>", True, True),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("cut", "unicode", "expected"),
    [
        (None, True, "‹<s>›Why?⏎\n«So.‹</s>›»"),
        (None, False, "`<s>`Why?\\n\n[[So.`</s>`]]"),
        (6, True, "‹<s>›Why?⏎\n«So.‹</s>›»"),
        (4, False, "`<s>`Why?\\n\n[[So]]\n---- cut at 4 tokens: what follows is lost ----\n[[.`</s>`]]"),
    ],
)
def test_brackets_say_what_is_trained_and_what_is_a_mark(cut: int | None, unicode: bool, expected: str) -> None:
    text = example_text(EXAMPLE, cut, unicode).plain
    assert text == expected
    assert unicode or text.isascii()


def test_styles_say_the_same_as_the_brackets() -> None:
    text = example_text(EXAMPLE)
    styled = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styled["So"] == "bold underline"
    assert styled["Why?"] == "dim"
    assert "reverse" in styled["‹<s>›"]


def test_a_long_row_says_how_much_is_missing() -> None:
    assert example_text(replace(EXAMPLE, length=1006)).plain.endswith("\n(1,000 more tokens)")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_of_a_row_is_obeyed(payload: str) -> None:
    row = Example(0, 2, (Token(payload, False, False), Token(payload, True, True)))
    assert not OBEYED.search(example_text(row).plain)


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("length", [1, 60, 100, 5000])
def test_the_cut_line_stands_between_rows_that_are_cut_and_rows_that_are_not(length: int, unicode: bool) -> None:
    found = rows_of(*[(size, 0) for size in range(1, 101)])
    lines = histogram_lines(found, length, width=40, bins=8, unicode=unicode)
    (cut,) = (place for place, line in enumerate(lines) if "cut at" in line)
    above = sum(int(line.rsplit(None, 1)[1].replace(",", "")) for line in lines[:cut])
    assert above == min(length, 100)
    assert all(len(line) <= 60 for line in lines)
    assert unicode or all(line.isascii() for line in lines)


def test_a_single_row_shows_at_least_a_trace() -> None:
    lines = histogram_lines(rows_of(*[(10, 1)] * 5000, (90, 1)), 2048, width=40, bins=4)
    assert any(line.endswith("▏ 1") for line in lines)


def test_the_summary_tells_tokens_and_packing(recipe: Callable[..., Recipe]) -> None:
    lines = summary_lines(rows_of(*[(100, 20)] * 50), recipe(data={"eval_fraction": 0}), None)
    assert lines[0] == "50 rows of 5,000 tokens, the longest 100"
    assert lines[1] == "about 4,000 tokens are trained in an epoch (80 % of all)"
    why = "not packed: a step would hold more rows, and an epoch teach less"
    assert lines[3] == f"{why} (50 short rows would become 3 long ones); 7 steps in all"


def test_chats_that_come_as_several_rows_are_told(recipe: Callable[..., Recipe]) -> None:
    lines = summary_lines(rows_of(*[(100, 20)] * 50, source_rows=20), recipe(), None)
    assert lines[0].startswith("50 rows (of 20 in the source: some chats need a row for each answer) of 5,000 tokens")


def test_the_legend_uses_the_same_brackets() -> None:
    assert legend() == "«trained»   read only   ‹mark of the model›"
    assert legend(unicode=False) == "[[trained]]   read only   `mark of the model`"
