"""Files that a download, a program or a merge has damaged: read where rows are plain, else refused by what they are."""

import json
import tarfile
from pathlib import Path

import pytest

from fitune.core.data.dataset import inspect, rows
from fitune.core.errors import UserError
from fitune.core.recipe.data_fields import Data

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"


def pairs(first: int, end: int) -> list[dict[str, str]]:
    return [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(first, end)]


def jsonl(found: list[dict[str, str]], between: str = "\n") -> str:
    return "".join(json.dumps(row) + between for row in found)


def csv(found: list[dict[str, str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(row) + "\n" for row in [["question", "answer"], *map(dict.values, found)])


READ = {
    "files with a byte order mark joined.jsonl": "\ufeff" + jsonl(pairs(0, 20)) + "\ufeff" + jsonl(pairs(20, 40)),
    "files with a byte order mark joined.csv": "\ufeff" + csv(pairs(0, 20)) + "\ufeff" + csv(pairs(20, 40)),
    "line ends are missing.jsonl": jsonl(pairs(0, 20), "") + "\n" + jsonl(pairs(20, 40), " ") + "\n",
    "a table in text.xlsx": csv(pairs(0, 40)),
    "a title with empty cells.csv": "FAQ of 2024;;\n;;\n" + csv(pairs(0, 40), ";").replace("\n", ";\n"),
}


@pytest.mark.parametrize("name", READ)
def test_rows_that_are_plain_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(READ[name], encoding="utf-8")
    found = inspect(Data(source=str(path)))
    assert (found.can_train, found.sure, found.rows) == (True, True, 40)
    assert [row["messages"][0]["content"] for row in rows(Data(source=str(path)))] == [
        row["question"] for row in pairs(0, 40)
    ]


REFUSED = {
    "a.csv": (b"404: Not Found", "what a server answered (404: Not Found)"),
    "a.txt": (b"Entry not found", "what a server answered"),
    "b.csv": (b"Invalid username or password.", "what a server answered"),
    "a.json": (b'{"error":"Repository not found"}', "what a server answered"),
    "a.jsonl": (b'{"message": "Not Found", "documentation_url": "https://docs"}', "what a server answered"),
    "a.zip": (POINTER, "Git LFS pointer"),
    "b.zip": (b"", "is empty: it has 0 bytes"),
    "a.parquet": (b"", "is empty: it has 0 bytes"),
    "a.xlsx": (b"", "is empty: it has 0 bytes"),
    "curly.json": ("[{“question”: “Why?”, “answer”: “So.”}]".encode(), "curly quotes"),
    "python.json": (b"[{'question': 'Why?', 'answer': 'So.'}]", "single quotes, as Python prints"),
    "a.jsonl.bz2": (b"BZh91AY&SY", "an archive (bzip2)"),
    "prose.json": (
        b'Here are your rows:\n\n```json\n[{"question": "Why?"}]\n```',
        "text stands there that is not JSON",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stands_in_the_place_of_the_data_is_named(name: str, tmp_path: Path) -> None:
    content, said = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as told:
        inspect(Data(source=str(tmp_path / name)))
    assert said in told.value.message


def problems(path: Path) -> str:
    return " ".join(f"{each.problem} {' '.join(each.places)}" for each in inspect(Data(source=str(path))).problems)


def test_a_document_that_breaks_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(pairs(0, 40))[:-12])
    assert "breaks off within a row" in problems(path)


def test_the_marks_of_a_merge_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"<<<<<<< HEAD\n{jsonl(pairs(0, 20))}=======\n{jsonl(pairs(20, 40))}>>>>>>> main\n")
    assert "merge conflict" in problems(path)


def test_curly_quotes_in_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(jsonl(pairs(0, 3)).replace('"', "”"), encoding="utf-8")
    assert "curly quotes" in problems(path)


def test_short_texts_and_rows_are_no_answers_of_a_server(tmp_path: Path) -> None:
    for name, text in (("a.txt", "Forbidden fruits taste sweet."), ("a.jsonl", '{"message": "Hello to all of you"}')):
        (tmp_path / name).write_text(text)
        inspect(Data(source=str(tmp_path / name)))


def test_a_bare_list_of_turns_is_a_chat_even_with_an_unknown_speaker(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "search", "arguments": {}},
        {"role": "assistant", "content": "So"},
    ]
    path.write_text(json.dumps([turns] * 20))
    assert "no chat template knows: search" in problems(path)


@pytest.mark.parametrize(("name", "form"), [("a.jsonl", "{}"), ("a.json", "[{}]")])
def test_a_name_that_a_row_gives_twice_is_told(name: str, form: str, tmp_path: Path) -> None:
    for answers, is_told in (('"answer": "Old.", "answer": "New."', True), ('"answer": "New."', False)):
        (tmp_path / name).write_text(form.format(f'{{"question": "Why?", {answers}}}'))
        assert ("one name twice" in problems(tmp_path / name)) is is_told


def test_a_tar_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(pairs(0, 40)))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.jsonl", "a.jsonl")
    with pytest.raises(UserError, match="archive"):
        inspect(Data(source=str(tmp_path / "a.tar.gz")))


def test_remarks_between_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"// The first part\n{jsonl(pairs(0, 20))}# The second\n{jsonl(pairs(20, 40))}")
    assert problems(path).count("is a remark") == 2
