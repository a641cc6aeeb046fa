"""Text behind a heading: under itself on a terminal, whole elsewhere."""

import os
import shutil
import sys
from io import StringIO

import pytest

from fitune.tui.text.format import hanging, steps, table, wrapped

SAID = "a copy of the largest matrix, with-hyphens, and its scales"


class Screen:
    """Stands for a standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 30, 80])
def test_on_a_terminal_it_wraps_under_itself(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    first, *others = hanging("  loss  ", SAID).split("\n")
    assert first.startswith("  loss  a copy")
    assert all(line.startswith(" " * 8) for line in others)
    assert all(len(line) <= max(columns, 28) for line in (first, *others))
    assert " ".join([first.removeprefix("  loss  "), *(line.strip() for line in others)]) == SAID


def test_elsewhere_it_is_one_line() -> None:
    assert hanging("  loss  ", SAID) == f"  loss  {SAID}"


@pytest.mark.parametrize(
    ("number", "told"), [(1, "1 step"), (0, "0 steps"), (1234, "1,234 steps"), (None, "n/a steps")]
)
def test_steps_are_told_with_the_word_that_agrees(number: int | None, told: str) -> None:
    assert steps(number) == told


TABLE = [["RUN", "STATUS", "STEP"], ["a-run-with-a-name", "finished", "6/6"]]


def test_a_table_stands_in_columns_where_there_is_room() -> None:
    assert table(TABLE, numbers={2}) == "RUN                STATUS    STEP\na-run-with-a-name  finished   6/6"


def test_in_a_narrow_terminal_the_first_column_stands_over_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((31, 24)))
    told = table(TABLE, numbers={2})
    assert told == "RUN\n  STATUS    STEP\na-run-with-a-name\n  finished   6/6"
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((33, 24)))
    assert len(table(TABLE).splitlines()) == 2, "it just fits"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_break_between_words_under_their_indent_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((31, 24)))
    text = "   4. a line of more words than the terminal has room\nshort"
    assert wrapped(text, StringIO()) == text
    assert wrapped(text, Terminal()).split("\n") == [
        "   4. a line of more words",
        "   than the terminal has room",
        "short",
    ]
