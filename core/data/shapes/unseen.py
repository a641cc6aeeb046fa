"""The words that a reading shows to the model, and the columns in which it leaves some unseen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.shape import Reading
from fitune.core.data.values import Row, cell, decoded

ROWS_COMPARED = 20
MOST = 0.6
SHOWN = {"tools", "functions"}
"""Columns that belong to a chat without being mapped."""


def used_columns(table: Sequence[Column], columns: Mapping[str, str]) -> list[Column]:
    """The columns that a mapping uses, each with what is in it."""
    names = {name.removesuffix(".0") for name in columns.values()}
    return [column for column in table if column.name in names or column.name.partition(".")[0] in names]


def words_of(table: Sequence[Column], columns: Mapping[str, str]) -> int:
    """Letters of words in the columns that a mapping uses."""
    return sum(column.words for column in used_columns(table, columns))


def most_words(table: Sequence[Column], found: Sequence[Reading]) -> Reading | None:
    """The reading that shows most words, of equals the first; None of none."""
    return max(found, key=lambda each: words_of(table, each.columns), default=None)


def unseen_columns(rows: Sequence[Row], table: Sequence[Column], columns: Mapping[str, str]) -> list[Column]:
    """The columns with words that a mapping leaves out, those with most first; not those that only repeat others."""
    used = used_columns(table, columns)
    left_out = [column for column in table if column.words and column not in used and column.name not in SHOWN]
    fresh = [column for column in left_out if not is_repeated(rows, column, columns)]
    return sorted(fresh, key=lambda column: -column.words)


def is_repeated(rows: Sequence[Row], column: Column, columns: Mapping[str, str]) -> bool:
    """True if a column says only what these columns say already: the whole prompt in one piece, or a part of it."""
    same = compared = 0
    for row in rows[:ROWS_COMPARED]:
        text = " ".join(_texts(cell(row, column.name)))
        used = [each for name in columns.values() for each in _texts(cell(row, name))]
        used = [each for each in used if " " in each] or used  # a single word, such as a speaker's role, says little
        if text and used:
            compared += 1
            says_it_all = any(" " in each for each in used) and all(each in text for each in used)
            same += says_it_all or text in " ".join(used)
    return same > MOST * compared


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, without the spaces around it."""
    value = decoded(value)
    if isinstance(value, str):
        yield " ".join(value.split())
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
