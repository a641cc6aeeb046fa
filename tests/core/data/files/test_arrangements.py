"""Rows as exports arrange them: by their topics, by their questions, without keys, below a title or remarks."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data.dataset import inspect
from fitune.core.data.exchange import exchange_of
from fitune.core.errors import UserError
from fitune.core.recipe import Data

COUNT = 12


def q(n: int) -> str:
    return f"How do I water fern {n} in winter?"


def a(n: int) -> str:
    return f"Give fern {n} a cup of water, and mist its leaves."


CHATS = [[{"role": "user", "content": q(n)}, {"role": "assistant", "content": a(n)}] for n in range(COUNT)]
CALLS = [[{"speaker": "caller", "utterance": q(n)}, {"speaker": "helpdesk", "utterance": a(n)}] for n in range(COUNT)]
TICKETS = [
    {
        "id": n,
        "subject": f"Fern {n}",
        "comments": [{"author_role": "end-user", "body": q(n)}, {"author_role": "agent", "body": a(n)}],
    }
    for n in range(COUNT)
]
ROWS = [{"question": q(n), "answer": a(n)} for n in range(COUNT)]
LINES = "".join(f'{q(n)},"{a(n)}"\n' for n in range(COUNT))

READ: tuple[tuple[str, str, str], ...] = (
    ("chats by their names", "a.json", json.dumps({f"chat-{n}": chat for n, chat in enumerate(CHATS)})),
    ("rows by their topics", "a.json", json.dumps({f"topic {n}": ROWS[n::3] for n in range(3)})),
    ("answers by their questions", "a.json", json.dumps({q(n): a(n) for n in range(COUNT)})),
    (
        "rows of unknown fields by their ids",
        "a.json",
        json.dumps({f"f{n}": {"symptom": q(n), "remedy": a(n)} for n in range(COUNT)}),
    ),
    ("a caller and a helpdesk", "a.jsonl", "".join(json.dumps({"turns": turns}) + "\n" for turns in CALLS)),
    ("the comments of tickets", "a.json", json.dumps({"tickets": TICKETS, "count": COUNT})),
    (
        "columns of which one holds lists",
        "a.json",
        json.dumps(
            {"question": list(map(q, range(COUNT))), "answer": list(map(a, range(COUNT))), "ids": [[1]] * COUNT}
        ),
    ),
    ("line ends of old Macs", "a.jsonl", "\r".join(map(json.dumps, ROWS))),
    ("below a title", "a.csv", f"FAQ of the garden\n\nquestion,answer\n{LINES}"),
    ("below remarks", "a.csv", f"# made by a program, in May\n# 12 rows\nquestion,answer\n{LINES}"),
    ("spaces before quotes", "a.csv", "question, answer\n" + "".join(f'"{q(n)}", "{a(n)}"\n' for n in range(COUNT))),
)


@pytest.mark.parametrize(("name", "file", "content"), READ, ids=[name for name, *_ in READ])
def test_rows_are_found_in_each_arrangement(name: str, file: str, content: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    report = inspect(Data(source=str(tmp_path / file)))
    assert (report.sure, report.rows) == (True, COUNT)
    assert exchange_of(report.preview[0]) == (q(0), a(0))


def test_fields_that_nobody_knows_are_asked_about_as_rows_by_their_ids(tmp_path: Path) -> None:
    """Not as one row of as many columns as there are ids."""
    rows = {f"f{n}": {"einleitung": f"About fern {n}.", "pflege": a(n)} for n in range(COUNT)}
    (tmp_path / "a.json").write_text(json.dumps(rows))
    report = inspect(Data(source=str(tmp_path / "a.json")))
    assert report.rows_read == COUNT
    assert set(report.columns) == {"einleitung", "pflege"}


def test_columns_of_different_lengths_are_refused_with_their_lengths(tmp_path: Path) -> None:
    columns = {"questions": [q(n) for n in range(COUNT)], "answers": [a(n) for n in range(COUNT - 2)]}
    (tmp_path / "a.json").write_text(json.dumps(columns))
    (stop,) = (each for each in inspect(Data(source=str(tmp_path / "a.json"))).problems if each.severity == "stop")
    assert "holds columns of different lengths" in str(stop.problem)
    assert "12 questions, 10 answers" in str(stop.problem)


def test_a_list_of_texts_is_plain_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([a(n) for n in range(COUNT)]))
    report = inspect(Data(source=str(tmp_path / "a.json")))
    assert (report.format, report.rows, report.preview[0]) == ("text", COUNT, {"text": a(0)})


def test_a_list_of_pairs_without_names_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([[q(n), a(n)] for n in range(COUNT)]))
    report = inspect(Data(source=str(tmp_path / "a.json")))
    assert (report.sure, dict(report.candidates[0])) == (False, {"question": "column_1", "answer": "column_2"})


def test_the_splits_of_a_document_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"train": ROWS, "validation": ROWS[:2]}))
    assert inspect(Data(source=str(tmp_path / "a.json"))).rows == COUNT
    assert inspect(Data(source=str(tmp_path / "a.json"), split="validation")).rows == 2


def test_text_with_commas_but_no_quotes_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\n" + "".join(f"{q(n)},{a(n)}\n" for n in range(COUNT)))
    said = " ".join(str(each.problem) for each in inspect(Data(source=str(tmp_path / "a.csv"))).problems)
    assert "needs quotes around it" in said


def test_plain_text_of_questions_and_answers_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"Q: {q(n)}\nA: {a(n)}\n\n" for n in range(COUNT)))
    report = inspect(Data(source=str(tmp_path / "a.txt")))
    assert (report.format, report.counts["spoken"]) == ("text", 1)


LONG = " and mist its leaves" * 40
MANY = [{"question": q(n), "answer": f"{a(n)}{LONG}"} for n in range(1500)]
"""Some 1.4 million characters: more than an object is read at once."""

LARGE: tuple[tuple[str, Any, str, int], ...] = (
    ("in a list", {"version": 1, "data": MANY, "end": {"of": "it"}}, "train", 1500),
    ("in a list within objects", {"a": {"status": "ok", "rows": MANY}, "b": 1}, "train", 1500),
    ("of one split", {"validation": MANY[:5], "train": MANY, "test": MANY[:7]}, "train", 1500),
    ("of the split behind", {"train": MANY, "test": MANY[:7]}, "test", 7),
    ("by topics", {"one": MANY, "two": MANY[:9]}, "train", 1509),
    ("by topics, the small one first", {"two": MANY[:9], "one": MANY}, "train", 1509),
    ("chats", {"chats": [{"id": n, "messages": [*CHATS[0], *CHATS[1] * 6]} for n in range(1500)]}, "train", 1500),
)


@pytest.mark.parametrize(("name", "document", "split", "count"), LARGE, ids=[name for name, *_ in LARGE])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_object_is_read_row_by_row(
    name: str, document: Any, split: str, count: int, indent: int | None, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document, indent=indent))
    assert inspect(Data(source=str(tmp_path / "a.json"), split=split)).rows == count


def test_a_large_row_with_a_list_stays_one_row(tmp_path: Path) -> None:
    row = {"question": "What do the ferns need?", "answer": a(1), "sources": MANY}
    (tmp_path / "a.json").write_text(json.dumps(row))
    assert inspect(Data(source=str(tmp_path / "a.json"))).rows_read == 1


def test_a_large_object_that_breaks_off_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"data": MANY})[:-30])
    report = inspect(Data(source=str(tmp_path / "a.json")))
    assert [each.kind for each in report.problems if each.severity == "stop"] == ["unreadable"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.txt.gz"])
def test_a_line_without_end_is_refused_and_does_not_fill_the_memory(name: str, tmp_path: Path) -> None:
    with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
        for _ in range(80):
            file.write(b"x" * (1 << 20))
    with pytest.raises(UserError, match=f"{name}:1: a line has more than 64 MiB"):
        inspect(Data(source=str(tmp_path / name)))


def test_a_table_of_thousands_of_columns_is_reported_soon(tmp_path: Path) -> None:
    lines = [",".join(f"column{n}" for n in range(1500))]
    lines += [",".join(f"some text {n} {line}" for n in range(1500)) for line in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    report = inspect(Data(source=str(tmp_path / "a.csv")))
    assert (report.can_train, len(report.candidates)) == (False, 6)


def test_the_questions_of_squad_are_rows_with_their_paragraph(tmp_path: Path) -> None:
    asked = [{"id": str(n), "question": q(n), "answers": [{"text": a(n), "answer_start": 3}]} for n in range(COUNT)]
    paragraph = {"context": "A fern is a plant without flowers.", "qas": [*asked, {"question": q(99), "answers": []}]}
    document = {"version": "v2.0", "data": [{"title": "Ferns", "paragraphs": [paragraph]}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    report = inspect(Data(source=str(tmp_path / "a.json")))
    assert (report.sure, report.rows, report.counts["empty"]) == (True, COUNT, 1)
    assert exchange_of(report.preview[0]) == (f"{q(0)}\n\nA fern is a plant without flowers.", a(0))


def test_several_labels_stand_in_one_answer(tmp_path: Path) -> None:
    lines = [{"text": a(n), "labels": ["damp", "shade"][: n % 2 + 1]} for n in range(COUNT)]
    (tmp_path / "a.json").write_text(json.dumps(lines))
    report = inspect(Data(source=str(tmp_path / "a.json"), columns={"question": "text", "answer": "labels"}))
    assert [exchange_of(row)[1] for row in report.preview[:2]] == ["damp", "damp, shade"]


@pytest.mark.parametrize(
    ("encoding", "asked", "told"),
    [
        ("shift_jis", "{n}番の植物は何日ごとに水をやりますか。", "{n}日ごとです。葉にも霧を吹いてください。"),
        ("gbk", "第{n}盆蕨类植物多久浇一次水？", "每{n}天浇一次，叶子也要喷水。"),
        ("big5", "第{n}盆蕨類植物多久澆一次水？", "每{n}天澆一次，葉子也要噴水。"),
        ("euc_kr", "{n}번 고사리에 물을 언제 주나요?", "{n}일마다 주고 잎에도 뿌려 주세요."),
        ("cp1251", "Как часто поливать папоротник {n}?", "Поливайте каждые {n} дней, опрыскивая листья."),
        ("cp1253", "Πόσο συχνά ποτίζω τη φτέρη {n}", "Κάθε {n} μέρες, και ψέκαζε τα φύλλα της."),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_text_in_an_encoding_that_nobody_can_tell_is_refused_with_what_to_do(
    encoding: str, asked: str, told: str, name: str, tmp_path: Path
) -> None:
    rows = [{"question": asked.format(n=n), "answer": told.format(n=n)} for n in range(COUNT)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if name == "a.csv":
        text = "question;answer\n" + "".join(f"{row['question']};{row['answer']}\n" for row in rows)
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match="not in UTF-8, and in no encoding of Western Europe"):
        inspect(Data(source=str(tmp_path / name)))
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert inspect(Data(source=str(tmp_path / name))).rows == COUNT


@pytest.mark.parametrize(
    ("encoding", "asked"),
    [
        ("cp1252", "«\xa0Où\xa0» arrose-t-on l'été la fougère n° {n}… à Orléans ?"),
        ("cp1252", "Größe des Übertopfs für Farn {n}, süß und weiß?"),
        ("cp1252", "“¿Cuándo riego el helecho {n}?”, preguntó la niña."),
        ("cp1250", "Jak często podlewać paproć numer {n} żółtą wodą?"),
        ("utf-8", "第{n}盆蕨类植物多久浇一次水？"),
    ],
)
def test_accents_of_western_europe_and_stray_bytes_are_read(encoding: str, asked: str, tmp_path: Path) -> None:
    text = "question;answer\n" + "".join(f"{asked.format(n=n)};{a(n)}\n" for n in range(COUNT))
    (tmp_path / "a.csv").write_bytes(text.encode(encoding) + b"Is this one ok\xe9?;Yes it is.\n")
    assert inspect(Data(source=str(tmp_path / "a.csv"))).rows == COUNT + 1
