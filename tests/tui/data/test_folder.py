"""What lies in a folder is told with size, kind and rows, the newest file first; folders can be walked."""

import os
from pathlib import Path

import pytest

from fitune.tui.data.folder import entries, line, look_into, proposals
from tests.tui.text.test_clean import OBEYED

ROW = '{"question": "Who?", "answer": "You."}\n'


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of many kinds, each newer than the one before."""
    here = tmp_path / "here"  # whose parent holds nothing else
    here.mkdir()
    monkeypatch.chdir(here)
    Path("sub/deep").mkdir(parents=True)
    texts = {
        "old.jsonl": ROW * 3, "table.csv": "question,answer\na,b\n", "notes.txt": "Dear diary.\n", "empty.json": "",
        "program.py": "x", ".hidden.jsonl": ROW, "sub/inner.jsonl": ROW, "new.jsonl.gz": "no gzip",
    }  # fmt: skip
    for age, (name, text) in enumerate(texts.items()):
        Path(name).write_text(text)
        os.utime(name, (1_700_000_000 + age, 1_700_000_000 + age))


def listed(typed: str) -> list[str]:
    return [entry.path for entry in entries(typed)]


def test_files_come_newest_first_then_folders_then_the_way_up() -> None:
    assert listed("") == ["new.jsonl.gz", "empty.json", "notes.txt", "table.csv", "old.jsonl", "sub/", "../"]
    assert [entry.path for entry in proposals(entries(""))] == ["new.jsonl.gz", "empty.json", "table.csv", "old.jsonl"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("o", ["old.jsonl", "../"]),
        ("old.jsonl", listed),  # a file is chosen: the others stay in sight
        ("owner/name", listed),
        ("su", ["sub/", "../"]),
        ("sub/", ["sub/inner.jsonl", "sub/deep/", ""]),
        ("sub/deep/", ["sub/"]),
        ("../", None),
    ],
)
def test_the_list_follows_what_is_typed(typed: str, found: object) -> None:
    if found is None:
        assert f"../{Path.cwd().name}/" in listed(typed)
        assert listed(typed)[-1] == "../../"
    else:
        assert listed(typed) == (listed("") if found is listed else found)


def test_the_way_up_leads_to_the_root_and_no_further() -> None:
    assert listed("/etc/")[-1] == "/"
    assert listed("/")[-1] == "/"
    assert listed(f"{Path.cwd()}/")[-1] == f"{Path.cwd().parent}/"


def test_a_line_tells_size_kind_and_rows() -> None:
    told = {entry.name: line(entry, look_into(entry), 74) for entry in entries("") if entry.kind == "file"}
    assert told["old.jsonl"].split() == ["old.jsonl", "JSONL", "117", "B", "3", "rows,", "question_answer"]
    assert told["table.csv"].split() == ["table.csv", "CSV", "20", "B", "1", "row,", "question_answer"]
    assert told["new.jsonl.gz"].split()[1] == "JSONL.GZ"
    assert all(len(text) <= 74 for text in told.values())


def test_many_rows_are_told_as_about_so_many() -> None:
    Path("many.jsonl").write_text(ROW * 400_000)
    entry = entries("")[0]
    assert "about 4" in line(entry, look_into(entry), 100)


def test_a_name_that_a_terminal_would_obey_is_harmless() -> None:
    Path("\x1b[2Jevil.jsonl").write_text(ROW)
    told = next(line(entry, None, 74) for entry in entries("") if "evil" in entry.path)
    assert not OBEYED.search(told)


def test_a_folder_of_very_many_files_says_how_many_are_not_listed() -> None:
    for number in range(230):
        Path(f"sub/{number}.jsonl").touch()
    listed_there = entries("sub/")
    assert len([entry for entry in listed_there if entry.kind == "file"]) == 200
    assert line(listed_there[-2], None, 70) == "... 32 more: type the beginning of a name"
    assert listed_there[-1].kind == "up"
