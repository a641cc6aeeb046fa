"""The keys of a line."""

import pytest

from fitune.tui.wizard.widgets.line_edit import Line, edited, inserted

TEXT = "one/two-three"


@pytest.mark.parametrize(
    ("line", "key", "after"),
    [
        (Line(TEXT, 0), "left", Line(TEXT, 0)),
        (Line(TEXT, 13), "right", Line(TEXT, 13)),
        (Line(TEXT, 3), "left", Line(TEXT, 2)),
        (Line(TEXT, 3, True), "right", Line(TEXT, 4)),
        (Line(TEXT, 3), "home", Line(TEXT, 0)),
        (Line(TEXT, 3), "ctrl+a", Line(TEXT, 0)),
        (Line(TEXT, 3), "end", Line(TEXT, 13)),
        (Line(TEXT, 3), "ctrl+e", Line(TEXT, 13)),
        (Line(TEXT, 3), "backspace", Line("on/two-three", 2)),
        (Line(TEXT, 0), "backspace", Line(TEXT, 0)),
        (Line(TEXT, 3), "delete", Line("onetwo-three", 3)),
        (Line(TEXT, 13), "ctrl+d", Line(TEXT, 13)),
        (Line(TEXT, 0, True), "backspace", Line("")),
        (Line(TEXT, 0, True), "delete", Line("")),
        (Line(TEXT, 0, True), "ctrl+u", Line("")),
        (Line(TEXT, 4), "ctrl+u", Line("two-three")),
        (Line(TEXT, 4), "ctrl+k", Line("one/", 4)),
        (Line(TEXT, 13), "ctrl+w", Line("one/two-", 8)),
        (Line(TEXT, 8), "ctrl+w", Line("one/three", 4)),
        (Line(TEXT, 3), "ctrl+w", Line("/two-three", 0)),
        (Line("", 0), "ctrl+w", Line("", 0)),
    ],
)
def test_a_key_edits_as_in_a_shell(line: Line, key: str, after: Line) -> None:
    assert edited(line, key) == after


def test_a_character_goes_to_the_cursor_or_takes_the_place_of_what_is_selected() -> None:
    assert edited(Line("16", 1), "2", "2") == Line("126", 2)
    assert edited(Line("16", 0, True), "4", "4") == Line("4", 1)
    assert inserted(Line("ad", 1), "bc") == Line("abcd", 3)


@pytest.mark.parametrize(("key", "character"), [("enter", "\r"), ("escape", "\x1b"), ("f1", None), ("down", None)])
def test_other_keys_edit_nothing(key: str, character: str | None) -> None:
    assert edited(Line("16", 1), key, character) is None
