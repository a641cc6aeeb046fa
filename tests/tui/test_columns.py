"""Text behind a heading: under itself on a terminal, whole elsewhere."""

import os
import shutil
import sys

import pytest

from tui.columns import hanging

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
