"""Paths as people paste and half type them."""

from pathlib import Path

import pytest

from fitune.tui.data.paths import as_path, complete_path, names_below


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, as home too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("sub").mkdir()
    for name in ("two words.jsonl", "it's.csv", "rows-a.jsonl", "rows-b.jsonl", "sub/only.csv", ".hidden.csv"):
        Path(name).write_text("a,b\n")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("'two words.jsonl'", "two words.jsonl"),
        ('"two words.jsonl" ', "two words.jsonl"),
        (r"two\ words.jsonl", "two words.jsonl"),
        ("two words.jsonl", "two words.jsonl"),
        ("it's.csv", "it's.csv"),
        (r"'it'\''s.csv'", "it's.csv"),
        ("'not closed", "not closed"),
        ("file:///data/two%20words.jsonl", "/data/two words.jsonl"),
        ("~/two words.jsonl", "~/two words.jsonl"),
        ("'~/two words.jsonl'", "~/two words.jsonl"),
        ("owner/name", "owner/name"),
        ("  ", ""),
    ],
)
def test_what_was_pasted_names_the_file(typed: str, meant: str) -> None:
    assert as_path(typed) == meant


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tw", "two words.jsonl"),
        ("ro", "rows-"),
        ("rows-", "rows-"),
        ("su", "sub/"),
        ("sub/", "sub/only.csv"),
        ("..", "../"),
        ("~", "~/"),
        ("~/tw", "~/two words.jsonl"),
        (".h", ".hidden.csv"),
        ("nothing", "nothing"),
    ],
)
def test_a_path_is_completed_as_a_shell_does(typed: str, completed: str) -> None:
    assert complete_path(typed) == completed


def test_names_that_are_left_are_told_without_hidden_ones() -> None:
    assert names_below("rows-") == ("", ("rows-a.jsonl", "rows-b.jsonl"))
    assert names_below("sub/") == ("sub/", ("only.csv",))
    assert names_below("~nobody-of-that-name/x") == ("~nobody-of-that-name/", ())
    assert ".hidden.csv" not in names_below("")[1]
