"""Sources, mapping, the split and the quick ways through large files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from fitune.core.data.canonical import converter
from fitune.core.data.chats.speakers import ROLES, turn_trouble
from fitune.core.data.checks import duplicates, scan
from fitune.core.data.checks.batch import marker
from fitune.core.data.checks.duplicates import mark_of
from fitune.core.data.checks.sentences import numbered
from fitune.core.data.dataset import inspect, preview, rows
from fitune.core.data.shapes.recognise import recognise
from fitune.core.data.shapes.shape import MAPPABLE, Shape
from fitune.core.data.split import split
from fitune.core.data.values import Skip
from fitune.core.errors import BadInput, UserError
from fitune.core.recipe.data_fields import Data

DATA = Path(__file__).parents[2] / "data"


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(count)]


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in found))
    return path


@pytest.mark.parametrize(
    ("file", "fmt", "count"),
    [("gsm8k_excerpt.jsonl", "question_answer", 60), ("alpaca_seed_excerpt.jsonl", "alpaca", 12)],
)
def test_published_files_load_as_they_are(file: str, fmt: str, count: int) -> None:
    data = Data(source=str(DATA / file))
    report = inspect(data)
    assert (report.format, report.sure, report.rows, report.can_train) == (fmt, True, count, True)
    assert [[message["role"] for message in row["messages"]] for row in rows(data)] == [["user", "assistant"]] * count


def test_limit_ends_the_stream(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(50))
    assert len(list(rows(Data(source=str(path)), limit=7))) == 7


def test_places_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"question": "a", "answer": "b"}\n{"question": "c", "answer": "d"}\nnonsense\n')
    report = inspect(Data(source=str(path)))
    (found,) = (each for each in report.problems if each.kind == "bad_line")
    assert (found.count, found.problem.where) == (1, "a.jsonl:3")
    assert found.places[0].startswith("a.jsonl:3 is not valid JSON")


def test_problems_that_stop_come_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"question": "a@b.org", "answer": "b"}\n' + b"nonsense\n" * 3)
    assert [each.severity for each in inspect(Data(source=str(path))).problems] == ["stop", "warn", "warn"]


# Mapping


MAPPED: tuple[tuple[dict[str, str], str], ...] = (
    ({"prompt": "q", "completion": "a"}, "question_answer"),
    ({"question": "q", "answer": "a"}, "question_answer"),
    ({"input": "q", "output": "a"}, "question_answer"),
    ({"instruction": "q", "output": "a"}, "alpaca"),
    ({"prompt": "q", "input": "c", "completion": "a"}, "alpaca"),
    ({"text": "a"}, "text"),
    ({"messages": "m"}, "messages"),
)


@pytest.mark.parametrize(("columns", "fmt"), MAPPED)
def test_a_mapping_decides_the_format(columns: dict[str, str], fmt: str) -> None:
    row = {"q": "Why?", "a": "So.", "c": "Look.", "m": [{"role": "user", "content": "x"}]}
    shape = recognise([row], Data(source="x", columns=columns))
    assert (shape.format, shape.is_usable, shape.sure) == (fmt, True, True)


def test_a_plain_pair_is_chat_unless_it_is_called_prompt_and_completion() -> None:
    row = {"prompt": "Why?", "completion": "So."}
    assert recognise([row], Data(source="x")).format == "prompt_completion"
    assert recognise([row], Data(source="x", format="question_answer")).is_usable
    other = Data(source="x", format="prompt_completion", columns={"prompt": "q", "completion": "a"})
    assert recognise([{"q": "Why?", "a": "So."}], other).format == "prompt_completion"


def test_a_wrong_column_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"enquiry": "Why?", "reply": "So."}])
    data = Data(source=str(path), columns={"prompt": "inquiry", "completion": "reply", "colour": "reply"})
    with pytest.raises(BadInput) as refused:
        list(rows(data))
    assert [str(problem) for problem in refused.value.problems] == [
        f"data.columns.colour: is not a role. Roles: {', '.join(MAPPABLE)}.",
        "data.columns.prompt: there is no column inquiry. Did you mean enquiry?",
    ]


def test_instances_are_a_role_of_alpaca_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"foo": "Why?", "bar": "So."}])
    with pytest.raises(BadInput, match="text also needs text"):
        list(rows(Data(source=str(path), format="text", columns={"instruction": "foo", "instances": "bar"})))


def test_an_unsure_report_offers_mappings_that_work(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"foo": "Why?", "bar": "So."}] * 3)
    report = inspect(Data(source=str(path)))
    assert not report.sure
    answers = [inspect(Data(source=str(path), columns=dict(each))).preview[0] for each in report.candidates]
    assert [row["messages"][1]["content"] for row in answers] == ["So.", "Why?"]


def test_what_is_taken_as_plain_text_stays_the_first_choice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,title,body\n7,Sea,It is wide.\n")
    report = inspect(Data(source=str(tmp_path / "a.csv")))
    assert dict(report.candidates[0]) == dict(report.mapping) == {"text": "body"}
    assert {"question": "title", "answer": "body"} in report.candidates


def test_of_many_columns_those_with_most_text_are_offered_first_and_the_rows_are_seen(tmp_path: Path) -> None:
    row = {"nr": "7", "kind": "sea", "eins": "How wide is it?", "zwei": "As wide as you can see.", "by": "me"}
    report = inspect(Data(source=str(write(tmp_path / "a.jsonl", [row] * 3))))
    assert not report.can_train
    assert dict(report.candidates[0]) == {"question": "eins", "answer": "zwei"}
    assert report.preview == (row,) * 3


def test_chosen_answers_can_be_learnt_when_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}])
    (hint,) = inspect(Data(source=str(path))).candidates
    (row,) = rows(Data(source=str(path), columns=dict(hint)))
    assert [message["content"] for message in row["messages"]] == ["Hi", "Hello"]


def test_a_format_that_does_not_fit_is_refused_with_the_columns() -> None:
    shape = recognise([{"question": "Why?", "answer": "So."}], Data(source="x", format="messages"))
    assert [problem.text for problem in shape.problems] == [
        "messages needs a column messages, but the columns are question, answer."
    ]


@pytest.mark.parametrize("file", ["gsm8k_excerpt.jsonl", "alpaca_seed_excerpt.jsonl"])
def test_the_mapping_of_a_report_works_in_a_recipe(file: str) -> None:
    found = inspect(Data(source=str(DATA / file)))
    again = inspect(Data(source=str(DATA / file), columns=dict(found.mapping)))
    assert (again.format, again.rows, again.preview) == (found.format, found.rows, found.preview)


# Folders


def test_a_folder_is_read_in_order_of_names_without_its_readme(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", pairs(4)[2:])
    write(tmp_path / "sub" / "c.jsonl", pairs(6)[4:])
    write(tmp_path / "a.jsonl", pairs(2))
    (tmp_path / "README.md").write_text("About it.")
    (tmp_path / ".hidden.jsonl").write_text("nonsense")
    report = inspect(Data(source=str(tmp_path)))
    assert (report.files, report.rows, report.counts) == (("a.jsonl", "b.jsonl", "sub/c.jsonl"), 6, {})


SPLIT_FOLDERS = (
    ("train", ("test.jsonl", "train.jsonl"), ("train.jsonl",)),
    ("test", ("test.jsonl", "train.jsonl"), ("test.jsonl",)),
    ("train", ("data.jsonl", "test.jsonl"), ("data.jsonl",)),
    ("train", ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "training_notes.txt"),
     ("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl")),
    ("train", ("contest.jsonl", "latest.jsonl"), ("contest.jsonl", "latest.jsonl")),
)  # fmt: skip


@pytest.mark.parametrize(("name", "files", "read"), SPLIT_FOLDERS)
def test_splits_are_told_apart_by_file_names(
    name: str, files: tuple[str, ...], read: tuple[str, ...], tmp_path: Path
) -> None:
    for file in files:
        write(tmp_path / file, pairs(2))
    assert inspect(Data(source=str(tmp_path), split=name)).files == read


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", pairs(2))
    with pytest.raises(UserError, match=r"no split test; it has train.*data\.split"):
        inspect(Data(source=str(tmp_path), split="test"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file that fitune reads; it holds nothing"):
        inspect(Data(source=str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(1))
    path.chmod(0)
    with pytest.raises(UserError, match="may not be read"):
        inspect(Data(source=str(path)))


def test_permission_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.jsonl", pairs(1))
    monkeypatch.setattr("fitune.core.data.files.find.io.FileIO", refuse)
    with pytest.raises(UserError, match=r"a\.jsonl may not be read by you"):
        inspect(Data(source=str(path)))


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UserError, match="not a regular file"):
        inspect(Data(source=str(tmp_path / "pipe.jsonl")))


# The split


def test_equal_rows_fall_on_the_same_side() -> None:
    found = pairs(200) * 3
    train, held = split(found, 0.1, 1)
    assert len(held) == 60
    assert not {str(found[n]) for n in train} & {str(found[n]) for n in held}
    assert sorted(train + held) == list(range(600))


@pytest.mark.parametrize("seed", range(20))
def test_twenty_rows_give_one_to_hold_out(seed: int) -> None:
    assert len(split(pairs(20), 0.01, seed)[1]) == 1


SPLITS = ((0, 0.5, 0), (1, 0.5, 0), (5, 0.05, 0), (100, 0.0, 0), (100, 0.05, 5), (1000, 0.05, 50), (10, 0.5, 5))


@pytest.mark.parametrize(("count", "fraction", "held"), SPLITS)
def test_the_held_out_share_is_exact(count: int, fraction: float, held: int) -> None:
    assert len(split(pairs(count), fraction, 7)[1]) == held


def test_rows_that_all_have_twins_can_still_be_held_out() -> None:
    assert len(split(pairs(10) * 3, 0.01, 1)[1]) == 3


def test_rows_that_are_all_equal_are_all_trained_on() -> None:
    assert split(pairs(1) * 50, 0.1, 1)[1] == []


def test_the_split_depends_on_seed_and_content_not_on_order() -> None:
    found = pairs(300)
    held = {str(found[n]) for n in split(found, 0.1, 1)[1]}
    turned = found[::-1]
    assert held == {str(turned[n]) for n in split(turned, 0.1, 1)[1]}
    assert held != {str(found[n]) for n in split(found, 0.1, 2)[1]}


@pytest.mark.parametrize("folder", ["/elsewhere/much/deeper", "/d"])
def test_the_same_images_in_another_folder_are_split_the_same_way(folder: str) -> None:
    """On an H200 the same rows, in another folder for each training, had other losses before any step (2026-11-30)."""

    def seen(top: str) -> list[dict[str, Any]]:
        return [{**row, "images": [f"{top}/{n % 3}/{n}.png", "data:;base64,aaaa"]} for n, row in enumerate(pairs(60))]

    assert split(seen(folder), 0.1, 1) == split(seen("/data/img"), 0.1, 1)
    other = [{**row, "images": [f"/data/img/0/{n}.png"]} for n, row in enumerate(pairs(60))]
    assert split(other, 0.1, 1) != split(seen("/data/img"), 0.1, 1), "the images' own names count"


# Large files


def test_a_preview_reads_the_head_only_and_estimates_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": f"What is {n:06}?", "answer": f"{n:06}"} for n in range(30_000)])
    report = preview(Data(source=str(path)), sample=2)
    assert (report.rows_counted, len(report.preview)) == (False, 2)
    assert report.rows_read < 4000
    assert report.rows == pytest.approx(30_000, rel=0.01)


def test_progress_ends_at_the_size_of_the_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", pairs(20_000))
    told: list[tuple[int, int]] = []
    inspect(Data(source=str(path)), on_progress=lambda done, total: told.append((done, total)))
    size = path.stat().st_size
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == (size, size)


def test_ctrl_c_goes_through(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    path = write(tmp_path / "a.jsonl", pairs(20_000))
    with pytest.raises(KeyboardInterrupt):
        inspect(Data(source=str(path)), on_progress=interrupt)


def test_batches_find_what_single_rows_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*pairs(3000), *pairs(500), {"question": "x", "answer": " "}, *pairs(4000)[3000:], {"question": "y"}]
    path = write(tmp_path / "a.jsonl", found)
    slow = inspect(Data(source=str(path)))
    monkeypatch.setattr(scan, "CLOSE_ROWS", 10)
    fast = inspect(Data(source=str(path)))
    assert (fast.rows, fast.rows_read) == (slow.rows, slow.rows_read) == (4500, 4502)
    assert fast.counts == slow.counts == {"duplicate": 500, "empty": 1, "missing": 1}
    assert fast.close_rows < slow.close_rows == 4502


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
PLAIN: tuple[tuple[str, dict[str, str], dict[str, Any]], ...] = (
    ("question_answer", {"question": "q", "answer": "a"}, {"q": "Why?", "a": "So."}),
    ("prompt_completion", {"prompt": "q", "completion": "a"}, {"q": "Why?", "a": " So."}),
    ("alpaca", {"instruction": "q", "input": "i", "output": "a"}, {"q": "Add.", "i": "1, 2", "a": "3"}),
    ("alpaca", {"instruction": "q", "input": "i", "output": "a"}, {"q": "Add.", "a": "3"}),
    ("alpaca", {"instruction": "q", "input": "i", "output": "a"}, {"q": "Add.", "i": " ", "a": "3"}),
    ("alpaca", {"instruction": "q", "input": "i", "output": "a"}, {"q": "Add.", "a": "3", "i": None}),
    ("text", {"text": "t"}, {"t": "Once."}),
    ("messages", {"messages": "m"}, {"m": CHAT}),
    ("sharegpt", {"messages": "m"}, {"m": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]}),
)


def marks_of(fmt: str, columns: dict[str, str], rows: list[dict[str, Any]], seen: dict[str, Any]) -> list[int] | None:
    marks = marker(Shape(fmt, columns, True, ""), tuple(seen))
    return marks([json.dumps(row).encode() + b"\n" for row in rows]) if marks else None


@pytest.mark.parametrize(("fmt", "columns", "row"), PLAIN)
def test_the_short_way_hashes_as_the_long_way(fmt: str, columns: dict[str, str], row: dict[str, Any]) -> None:
    (made,) = converter(fmt, columns)(row)
    assert marks_of(fmt, columns, [row, row], row) == [mark_of(made)] * 2


ODD: tuple[tuple[str, dict[str, str], dict[str, Any]], ...] = (
    ("question_answer", {"question": "q", "answer": "a"}, {"q": "Why?", "a": ""}),
    ("question_answer", {"question": "q", "answer": "a"}, {"q": "Why?", "a": "\n"}),
    ("question_answer", {"question": "q", "answer": "a"}, {"q": "Why?", "a": 3}),
    ("question_answer", {"question": "q", "answer": "a"}, {"q": "Why?"}),
    ("question_answer", {"question": "q", "answer": "a", "system": "s"}, {"q": "Why?", "a": "So.", "s": "x"}),
    ("prompt_completion", {"prompt": "q", "completion": "a"}, {"q": orjson.dumps(CHAT).decode(), "a": "So."}),
    (
        "prompt_completion",
        {"prompt": "q", "completion": "a"},
        {"q": f"\u3000{json.dumps(CHAT)}", "a": "So."},
    ),
    ("alpaca", {"instruction": "q", "input": "i", "output": "a"}, {"q": "Add.", "i": 5, "a": "3"}),
    ("text", {"text": "t"}, {"t": ["Once."]}),
    ("messages", {"messages": "m"}, {"m": []}),
    ("messages", {"messages": "m"}, {"m": orjson.dumps(CHAT).decode()}),
    ("messages", {"messages": "m"}, {"m": CHAT[:1]}),
    ("messages", {"messages": "m"}, {"m": [*CHAT, CHAT[1]]}),
    ("messages", {"messages": "m"}, {"m": [CHAT[0], {"role": "narrator", "content": "x"}]}),
    ("messages", {"messages": "m"}, {"m": [CHAT[0], {"role": "assistant", "content": None}]}),
    ("messages", {"messages": "m"}, {"m": [CHAT[0], CHAT[1] | {"name": "x"}]}),
    ("messages", {"messages": "m"}, {"m": [CHAT[0], CHAT[1] | {"content": "\t "}]}),
    ("sharegpt", {"messages": "m"}, {"m": [CHAT[0], {"from": "gpt", "value": "x"}]}),
    ("sharegpt", {"messages": "m"}, {"m": [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": "x"}]}),
)


@pytest.mark.parametrize(("fmt", "columns", "row"), ODD)
def test_the_short_way_leaves_odd_rows_to_the_long_way(fmt: str, columns: dict[str, str], row: dict[str, Any]) -> None:
    assert marks_of(fmt, columns, [row], row) is None


def test_a_row_with_a_new_column_goes_the_long_way() -> None:
    row = {"q": "Why?", "a": "So.", "id": 2**70}
    columns = {"question": "q", "answer": "a"}
    assert marks_of("question_answer", columns, [row], row) is not None
    assert marks_of("question_answer", columns, [row, row | {"tools": []}], row) is None
    assert marks_of("question_answer", columns, [row | {"tools": []}], row | {"tools": []}) is None


@pytest.mark.parametrize("name", ["", "a b", "class", "é", '"', "\\", "x\ny", "other_0", "text"])
def test_any_name_of_a_column_is_taken(name: str) -> None:
    row = {"other": 1, name: "Once."}
    found = marks_of("text", {"text": name}, [row], row)
    assert found == [hash(("Once.",))] or (found is None and name in ('"', "\\", "x\ny"))
    assert marks_of("text", {"text": "t"}, [{"t": "Once.", name: 1}], {"t": "", name: 1}) in ([hash(("Once.",))], None)


def test_two_rows_on_a_line_go_the_long_way() -> None:
    marks = marker(Shape("text", {"text": "t"}, True, ""), ("t",))
    assert marks is not None
    assert marks([b'{"t": "a"} {"t": "b"}\n']) is None
    assert marks([b'{"t": "a"}\n', b'{"t": "\xff"}\n']) is None


def test_duplicates_beyond_the_bound_are_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_KEPT", 4096)
    counted = duplicates.Duplicates()
    counted.add([hash(f"row {n % 20_000}") for n in range(40_000)])
    assert not counted.is_exact
    assert counted.count() == pytest.approx(20_000, rel=0.15)


@pytest.mark.parametrize(("kinds", "times"), [(200, 254), (2_000, 30), (1, 20_000)])
def test_few_rows_that_come_often_are_counted_whole(monkeypatch: pytest.MonkeyPatch, kinds: int, times: int) -> None:
    monkeypatch.setattr(duplicates, "MAX_KEPT", 4096)
    counted = duplicates.Duplicates()
    for _ in range(times):
        counted.add([hash(f"row {n}") for n in range(kinds)])
    assert counted.is_exact
    assert counted.count() == counted.count() == kinds * (times - 1)


def test_an_estimated_number_of_repeats_is_called_about_so_many(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [{"question": f"{n % 1000}?", "answer": f"{n % 1000}"} for n in range(2000)]
    path = write(tmp_path / "a.jsonl", found)
    for most, said in ((3000, "1,000 rows repeat"), (1500, "About ")):
        monkeypatch.setattr(duplicates, "MAX_KEPT", most)
        (told,) = (each for each in inspect(Data(source=str(path))).problems if each.kind == "duplicate")
        assert told.problem.text.startswith(said)
        assert told.count == pytest.approx(1000, rel=0.2)


# Rows


TURNS = (
    ("user assistant", None),
    ("system user assistant user assistant", None),
    ("user assistant tool tool assistant", None),
    ("user user assistant", "unbalanced"),
    ("user assistant assistant", "unbalanced"),
    ("assistant user assistant", "unbalanced"),
    ("user assistant user", "no_last_answer"),
    ("user system assistant", "system_late"),
)


@pytest.mark.parametrize(("roles", "trouble"), TURNS)
def test_who_speaks_when_is_judged(roles: str, trouble: str | None) -> None:
    assert turn_trouble(tuple(roles.split())) == trouble


@pytest.mark.parametrize("role", ROLES)
def test_every_speaker_becomes_one_that_templates_know(role: str) -> None:
    turns = [{"from": role.title(), "value": "x"}, *CHAT]
    (made,) = converter("sharegpt", {"messages": "m"})({"m": turns})
    assert made["messages"][0] == {"role": ROLES[role], "content": "x"}


BAD_TURNS: tuple[tuple[Any, str], ...] = (
    ("text", "type"), (3, "type"), ({"role": "user"}, "type"), ({"content": "x"}, "role"),
    ({"role": "user", "content": [{"type": "input_audio", "input_audio": "x"}]}, "media"),
)  # fmt: skip


@pytest.mark.parametrize(("turn", "kind"), BAD_TURNS)
def test_a_turn_that_cannot_be_used_says_why(turn: Any, kind: str) -> None:
    convert: Callable[[dict[str, Any]], Any] = converter("messages", {"messages": "m"})
    with pytest.raises(Skip) as skip:
        convert({"m": [turn, *CHAT]})
    assert skip.value.kind == kind


def test_what_the_assistant_thought_is_kept_as_text() -> None:
    turns = [
        {"role": "user", "content": "Why?", "thinking": None},
        {"role": "assistant", "content": "So.", "reasoning_content": "[1, 2]", "thinking": " "},
    ]
    (made,) = converter("messages", {"messages": "messages"})({"messages": turns})
    assert made["messages"] == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So.", "reasoning_content": "[1, 2]"},
    ]


def test_tool_calls_and_tools_are_kept() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "clock"}}]}
    answer = {"role": "tool", "content": "noon", "tool_call_id": "1"}
    row = {"m": [CHAT[0], call, answer, CHAT[1]], "tools": '[{"type": "function"}]'}
    (made,) = converter("messages", {"messages": "m"})(row)
    assert made == {"messages": [CHAT[0], call | {"content": ""}, answer, CHAT[1]], "tools": [{"type": "function"}]}


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [('{"city": "Rome"}', {"city": "Rome"}), ({"city": "Rome"}, {"city": "Rome"}), ("", ""), ("Rome", "Rome")],
)
def test_arguments_of_a_call_that_are_json_text_become_the_object_that_templates_want(
    arguments: Any, kept: Any
) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    (made,) = converter("messages", {"messages": "m"})({"m": [CHAT[0], turn]})
    assert made["messages"][1]["tool_calls"] == [
        {"type": "function", "function": {"name": "weather", "arguments": kept}}
    ]


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "1 row can't be read and is left out."), (1200, "1,200 rows can't be read and are left out.")],
)
def test_sentences_agree_with_their_number(count: int, said: str) -> None:
    assert numbered("{n} row[|s] can't be read and [is|are] left out.", count) == said
