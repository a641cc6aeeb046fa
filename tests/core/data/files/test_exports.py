"""Files as Label Studio, LM Studio, DynamoDB and web pages keep rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data.dataset import inspect
from fitune.core.data.exchange import exchange_of
from fitune.core.data.files.json_documents.exports import unpacked
from fitune.core.data.files.json_documents.rows import WRAPPED_CHARS
from fitune.core.errors import UserError
from fitune.core.recipe import Data

COUNT = 12


def q(n: int) -> str:
    return f"How do I oil the lock of door {n}?"


def a(n: int) -> str:
    return f"Put a drop of oil into lock {n}, then turn the key."


ROWS = [{"question": q(n), "answer": a(n)} for n in range(COUNT)]
LISTED = json.dumps(ROWS, indent=1)


def task(data: dict[str, Any], *results: tuple[str, dict[str, Any]], cancelled: bool = False) -> dict[str, Any]:
    """A task of Label Studio; each result is its kind with its value."""
    found = [
        {"id": "r", "from_name": "said", "to_name": "text", "type": kind, "value": value} for kind, value in results
    ]
    annotations = [{"id": 7, "completed_by": 1, "result": found, "was_cancelled": cancelled}]
    return {"id": 1, "annotations": annotations, "drafts": [], "predictions": [], "data": data, "meta": {}}


def typed(n: int) -> dict[str, Any]:
    """A row of DynamoDB."""
    return {"id": {"N": str(n)}, "question": {"S": q(n)}, "answer": {"S": a(n)}, "seen": {"BOOL": True}}


def conversation(n: int) -> dict[str, Any]:
    """A chat of LM Studio, in which the answer was made twice."""
    answers = [
        {"type": "multiStep", "role": "assistant", "steps": [
            {"type": "contentBlock", "style": {"type": "thinking"}, "content": [{"type": "text", "text": "A lock."}]},
            {"type": "contentBlock", "content": [{"type": "text", "text": text}]}, {"type": "debugInfoBlock"}]}
        for text in (a(n), "No.")
    ]  # fmt: skip
    asked = {"type": "singleStep", "role": "user", "content": [{"type": "text", "text": q(n)}]}
    messages = [{"versions": [asked], "currentlySelected": 0}, {"versions": answers, "currentlySelected": 0}]
    return {"name": f"Chat {n}", "systemPrompt": "", "tokenCount": 9, "messages": messages, "notes": []}


READ: tuple[tuple[str, str, str], ...] = (
    ("DynamoDB's export", "a.jsonl", "\n".join(json.dumps({"Item": typed(n)}) for n in range(COUNT))),
    ("DynamoDB's stream", "a.jsonl", "\n".join(json.dumps({"dynamodb": {"NewImage": typed(n)}}) for n in range(COUNT))),
    ("DynamoDB's scan", "a.json", json.dumps({"Items": [typed(n) for n in range(COUNT)], "Count": COUNT}, indent=1)),
    ("a list of conversations", "a.json", json.dumps([conversation(n) for n in range(COUNT)])),
    ("a global of a page", "a.js", f"window.YTD.faq.part0 = {LISTED}"),
    ("a constant below a comment", "a.js", f"// our\n/* own */\nexport const faq = {LISTED};\n"),
    ("a module", "a.mjs", f"export default {LISTED};"),
    ("a script that wraps its list", "a.js", f'var x = {{"items": {LISTED}}};'),
)


@pytest.mark.parametrize(("name", "file", "content"), READ, ids=[name for name, *_ in READ])
def test_rows_are_read(name: str, file: str, content: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    report = inspect(Data(source=str(tmp_path / file)))
    assert (report.sure, report.rows) == (True, COUNT)
    assert exchange_of(report.preview[0]) == (q(0), a(0))


def test_tasks_that_nobody_has_labelled_are_not_learned(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([task({"text": q(n)}) | {"annotations": []} for n in range(COUNT)]))
    assert not inspect(Data(source=str(tmp_path / "a.json"))).sure


def test_a_folder_of_conversations_is_a_chat_a_file(tmp_path: Path) -> None:
    for n in range(COUNT):
        (tmp_path / f"{n:02}.conversation.json").write_text(json.dumps(conversation(n), indent=1))
    report = inspect(Data(source=str(tmp_path)))
    assert (report.sure, report.rows) == (True, COUNT)
    assert report.preview[0]["messages"][1] == {"role": "assistant", "content": a(0), "reasoning_content": "A lock."}


def test_a_long_conversation_is_one_chat(tmp_path: Path) -> None:
    turns = [turn for n in range(2000) for turn in conversation(n)["messages"]]
    path = tmp_path / "a.conversation.json"
    path.write_text(json.dumps(conversation(0) | {"messages": turns}, indent=1))
    assert path.stat().st_size > WRAPPED_CHARS
    assert [len(row["messages"]) for row in inspect(Data(source=str(path))).preview] == [4000]


def test_an_annotation_is_a_column_beside_its_data(tmp_path: Path) -> None:
    labels = ["door", "window"]
    tasks = [task({"text": q(n)}, ("choices", {"choices": [labels[n % 2]]})) for n in range(COUNT)]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    report = inspect(Data(source=str(tmp_path / "a.json")))
    assert [dict(each) for each in report.candidates] == [{"question": "text", "answer": "said"}, {"text": "text"}]
    assert exchange_of(report.preview[0]) == (q(0), "door")


SAID: tuple[tuple[tuple[tuple[str, dict[str, Any]], ...], Any], ...] = (
    ((("textarea", {"text": ["Oil it."]}),), "Oil it."),
    ((("choices", {"choices": ["a", "b"]}),), ["a", "b"]),
    ((("rating", {"rating": 4}),), [4]),
    ((("labels", {"start": 0, "end": 3, "text": "How", "labels": ["Word"]}),),
     [{"start": 0, "end": 3, "text": "How", "labels": ["Word"]}]),
    ((("choices", {"choices": ["a"]}), ("choices", {"choices": ["b"]})), ["a", "b"]),
)  # fmt: skip


@pytest.mark.parametrize(("results", "said"), SAID)
def test_results_are_what_was_said(results: tuple[tuple[str, dict[str, Any]], ...], said: object) -> None:
    assert unpacked(task({"text": "x"}, *results)) == {"text": "x", "said": said}


@pytest.mark.parametrize(
    "kept", [task({"text": "x"}, ("choices", {"choices": ["a"]}), cancelled=True), task({"text": "x"})]
)
def test_a_task_without_a_word_on_it_stays_as_it_is(kept: dict[str, Any]) -> None:
    assert unpacked(kept) is kept


def test_types_of_dynamodb() -> None:
    kept = {
        "n": {"N": "1.5"},
        "no": {"NULL": True},
        "l": {"L": [{"S": "x"}, {"M": {"k": {"N": "2"}}}]},
        "w": {"N": "w"},
    }
    assert unpacked(kept) == {"n": 1.5, "no": None, "l": ["x", {"k": 2}], "w": "w"}


@pytest.mark.parametrize(
    "row", [{"S": "x"}, {"a": {"S": "x"}, "b": "y"}, {"a": {"S": 1}}, {"data": {}, "annotations": [1]}, {}]
)
def test_other_rows_stay_as_they_are(row: dict[str, Any]) -> None:
    assert unpacked(row) is row


SCRIPTS = (
    ("function add(a, b) {\n  return a + b\n}\n", "is a program"),
    ("callback([]);", "is a program"),
    ("const faq = [\n  { question: 'a', answer: 'b' }\n];", "a.js:2: is not valid JSON"),
)


@pytest.mark.parametrize(("content", "why"), SCRIPTS)
def test_other_scripts_are_refused_with_a_cure(content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text(content)
    with pytest.raises(UserError, match=why) as refused:
        inspect(Data(source=str(tmp_path / "a.js")))
    assert "copy(JSON.stringify(NAME))" in str(refused.value.hint)


def test_a_script_with_two_lists_stops(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text(f"const a = {LISTED};\nconst b = {LISTED};")
    (problem,) = (each for each in inspect(Data(source=str(tmp_path / "a.js"))).problems if each.severity == "stop")
    assert "only where it holds one list" in problem.problem.text


def test_scripts_beside_data_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "site.js").write_text(f"const a = {LISTED};")
    (tmp_path / "rows.json").write_text(LISTED)
    assert inspect(Data(source=str(tmp_path))).rows == COUNT
