"""What is said of rows at a length: what stops the training, and what is only worth a look."""

from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.recipe.load import Recipe
from fitune.core.tokens.findings import findings, suggested_length
from fitune.core.tokens.lengths import TokenStats
from tests.core.tokens.token_rows import prepared


def rows_of(*rows: tuple[int, int], **changes: Any) -> TokenStats:
    """Rows of (tokens, first trained place), trained from there to their end; -1: not at all."""
    return prepared([(size, [(first, size)] if first >= 0 else []) for size, first in rows], **changes)


FINE = (50, 20)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (rows_of(FINE), []),
        (rows_of(FINE, (150, 120)), [("warn", "emptied", "1 row loses its whole answer at 100 tokens")]),
        (rows_of(FINE, (150, 20)), [("warn", "cut", "1 row is cut at 100 tokens: 31% of what there is to learn")]),
        (rows_of(*[FINE] * 100, (120, 20)), []),
        (rows_of(FINE, (9, -1)), [("warn", "blank", "shows nothing of its answers")]),
        (rows_of(FINE, refused=3, why_refused="no"), [("warn", "refused", "3 rows are left out; of the first, no.")]),
        (rows_of(FINE, plain_template=True), [("warn", "template", "base model without a chat template")]),
        (rows_of((150, 120), (200, 150)), [("stop", "nothing_left", "Nothing is left to learn. 2 rows lose their")]),
        (rows_of((9, -1)), [("stop", "nothing_left", "shows nothing of its answers")]),
        (rows_of(refused=2, why_refused="no"), [("stop", "nothing_left", "2 rows are left out; of the first, no.")]),
        (rows_of(), [("stop", "nothing_left", "There are no rows.")]),
    ],
)  # fmt: skip
def test_what_a_length_loses_is_said_worst_first(
    recipe: Callable[..., Recipe], found: TokenStats, said: list[tuple[str, str, str]]
) -> None:
    told = findings(found, recipe(model={"max_seq_length": 100}))
    assert [(each.severity, each.kind) for each in told] == [(severity, kind) for severity, kind, _ in said]
    for each, (_, _, text) in zip(told, said, strict=True):
        assert text in each.problem.text
        assert each.problem.fix


@pytest.mark.parametrize(
    ("first", "data", "is_told"),
    [(1, {}, True), (0, {}, True), (20, {}, False), (1, {"text_overlap": 8}, False), (1, {"loss_on": "all"}, False)],
)
def test_long_texts_can_become_several_rows(
    recipe: Callable[..., Recipe], first: int, data: dict[str, Any], is_told: bool
) -> None:
    (told,) = findings(rows_of((50, first), (150, first)), recipe(model={"max_seq_length": 100}, data=data))
    assert told.problem.fix.startswith("data.text_overlap = 12 makes several rows of each") == is_told
    assert "model.max_seq_length = 256" in told.problem.fix


@pytest.mark.parametrize(
    ("sizes", "length", "wanted"),
    [
        ([50] * 100, 32, 128),
        ([50] * 99 + [500], 32, 512),
        ([50] * 200 + [500], 32, 128),
        ([50] * 200 + [500], 256, 512),
        ([50] * 100, 128, None),
        ([2_000_000], 1_048_576, None),
    ],
)
def test_the_wanted_length_is_longer_and_leaves_nearly_all_rows_whole_or_else_all(
    sizes: list[int], length: int, wanted: int | None
) -> None:
    assert suggested_length(rows_of(*[(size, 1) for size in sizes]), length) == wanted


def test_a_text_of_the_template_is_told_as_it_is(recipe: Callable[..., Recipe]) -> None:
    told = findings(rows_of(FINE, refused=1, why_refused="[a|b] {n}"), recipe())
    assert told[0].problem.text == "1 row is left out; of the first, [a|b] {n}."


@pytest.mark.parametrize(
    ("data", "changes", "kinds", "said"),
    [
        ({}, {"notes": {"no_thoughts": 2}, "switch": "enable_thinking"}, ["thinking"], "off (enable_thinking = false)"),
        ({}, {"notes": {"no_thoughts": 1}}, ["thinking"], "1 row has no thoughts"),
        ({"thinking": "keep"}, {"notes": {"no_thoughts": 2}}, [], ""),
        ({"thinking": "off"}, {"notes": {"no_thoughts": 2}}, [], ""),
        ({}, {"notes": {"system_moved": 3}}, ["system_moved"], "at the head of the first question"),
        ({}, {"notes": {"tools_hidden": 3}}, ["tools_hidden"], "3 rows offer tools"),
        ({}, {"notes": {"words_hidden": 1}}, ["words_hidden"], "1 row has words before a call"),
        ({}, {"templates": ["default", "tool_use"]}, ["templates"], "rows with tools with tool_use"),
        ({"template_options": {"chat_template": "rag"}}, {"templates": ["default", "rag"]}, ["templates"], "with rag."),
    ],
)
def test_what_is_learned_otherwise_than_it_stands_is_told(
    recipe: Callable[..., Recipe], data: dict[str, Any], changes: dict[str, Any], kinds: list[str], said: str
) -> None:
    found = findings(rows_of(FINE, **changes), recipe(data=data))
    assert [each.kind for each in found] == kinds
    assert all(each.severity == "warn" for each in found)
    assert said in " ".join(str(each.problem) for each in found)


def test_a_refused_row_names_its_cure(recipe: Callable[..., Recipe]) -> None:
    (found,) = findings(rows_of(FINE, refused=1, why_refused="no", cure="Do this."), recipe())
    assert found.problem.fix == "Do this."
