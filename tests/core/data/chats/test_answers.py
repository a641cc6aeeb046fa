"""Rows with answers that are compared, as people have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data import Report, dataset
from fitune.core.recipe import Data
from fitune.core.recipe.kinds import DataFormat

Q, A, B = "Why is it so?", "So it is, and so it was.", "No."
ASKED, GOOD, BAD = ({"role": role, "content": text} for role, text in (("user", Q), ("assistant", A), ("assistant", B)))
PAIR = {"messages": [ASKED, GOOD], "rejected": BAD}
SHARE_GPT = {"user": "human", "assistant": "gpt"}


def turn_of(message: dict[str, str]) -> dict[str, str]:
    return {"from": SHARE_GPT[message["role"]], "value": message["content"]}


def report_on(path: Path, row: dict[str, Any], fmt: DataFormat, columns: dict[str, str] | None = None) -> Report:
    path.write_text("".join(f"{json.dumps(row)}\n" for _ in range(3)))
    return dataset.inspect(Data(source=str(path), format=fmt, columns=columns or {}))


PAIRS: dict[str, dict[str, Any]] = {
    "TRL with a prompt": {"prompt": Q, "chosen": A, "rejected": B},
    "TRL in turns": {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    "TRL without a prompt": {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    "UltraFeedback": {
        "prompt": Q,
        "prompt_id": "7ba1",
        "chosen": [ASKED, GOOD],
        "rejected": [ASKED, BAD],
        "score_chosen": 8.5,
        "score_rejected": 2.0,
    },
    "HH-RLHF": {"chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}", "rejected": f"\n\nHuman: {Q}\n\nAssistant: {B}"},
    "Argilla": {"instruction": Q, "chosen_response": A, "rejected_response": B, "chosen_model": "gpt-4"},
    "LLaMA-Factory": {"conversations": [turn_of(ASKED)], "chosen": turn_of(GOOD), "rejected": turn_of(BAD)},
    "a whole chat beside a worse answer": {"messages": [ASKED, GOOD], "rejected_response": B},
    "OpenAI": {
        "input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    },
    "ms-swift": {"messages": [ASKED, GOOD], "rejected_messages": [ASKED, BAD]},
    "right and wrong": {"problem": Q, "correct_solution": A, "wrong_solution": B},
    "turns as JSON text": {"chosen": json.dumps([ASKED, GOOD]), "rejected": json.dumps([ASKED, BAD])},
}


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_pairs_are_read_as_a_chat_with_the_worse_answer_beside_it(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    report = report_on(path, row, "preference")
    assert (report.format, report.can_train, report.rows) == ("preference", True, 3)
    assert report.preview[0] == PAIR
    refused = report_on(path, row, "auto")
    assert not refused.can_train
    assert 'train.objective = "dpo"' in str(refused.problems[0].problem)


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_a_pair_makes_a_good_and_a_bad_answer(row: dict[str, Any], tmp_path: Path) -> None:
    report = report_on(tmp_path / "rows.jsonl", row, "rated")
    assert (report.rows, report.preview[:2]) == (
        6,
        ({"messages": [ASKED, GOOD], "label": True}, {"messages": [ASKED, BAD], "label": False}),
    )


def test_a_system_prompt_and_a_context_belong_to_both_answers(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "question": Q, "context": "It was so for years.", "chosen": A, "rejected": B}
    (found, *_) = report_on(tmp_path / "rows.jsonl", row, "preference").preview
    system, asked, _ = found["messages"]
    assert system["content"] == "Be brief."
    assert asked["content"] == f"{Q}\n\nIt was so for years."


def test_earlier_rounds_in_a_column_of_their_own_come_first(tmp_path: Path) -> None:
    row = {"history": [["Hi.", "Hello, I am here."]], "instruction": Q, "chosen": A, "rejected": B}
    (found, *_) = report_on(tmp_path / "rows.jsonl", row, "preference").preview
    assert [turn["content"] for turn in found["messages"]] == ["Hi.", "Hello, I am here.", Q, A]
    assert found["rejected"] == BAD


def test_only_the_last_answers_of_long_chats_are_compared(tmp_path: Path) -> None:
    before = [ASKED, {"role": "assistant", "content": "Let me see."}, ASKED]
    row = {"chosen": [*before, GOOD], "rejected": [*before, BAD]}
    (found, *_) = report_on(tmp_path / "rows.jsonl", row, "preference").preview
    assert [turn.get("train") for turn in found["messages"]] == [None, False, None, None]


def test_texts_without_a_question_part_where_they_differ(tmp_path: Path) -> None:
    row = {"chosen": "The sky is blue as ever.", "rejected": "The sky is black as ever."}
    (found, *_) = report_on(tmp_path / "rows.jsonl", row, "preference").preview
    assert found == {"prompt": "The sky is ", "completion": "blue as ever.", "rejected": "black as ever."}


LEFT_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "chats that part early": (
        {"chosen": [ASKED, GOOD, ASKED, GOOD], "rejected": [ASKED, BAD, ASKED, BAD]},
        "apart",
    ),
    "equal answers": ({"prompt": Q, "chosen": A, "rejected": A}, "equal"),
    "no question": ({"chosen": "Blue as ever it was.", "rejected": "Grey as ever it was."}, "unasked"),
    "an empty worse answer": ({"prompt": [ASKED], "chosen": [GOOD], "rejected": [{**BAD, "content": ""}]}, "empty"),
}


@pytest.mark.parametrize(("row", "kind"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_can_not_be_compared_is_left_out_and_counted(row: dict[str, Any], kind: str, tmp_path: Path) -> None:
    good = {name: "" if isinstance(value, str) else [] for name, value in row.items()} | {"prompt": Q}
    path = tmp_path / "rows.jsonl"
    rows = [row, *({**good, "chosen": f"{A} {n}", "rejected": B} for n in range(3))]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    columns = {role: role for role in row}
    report = dataset.inspect(Data(source=str(path), format="preference", columns=columns))
    assert report.counts.get(kind), report.counts


RATED: dict[str, tuple[dict[str, Any], bool]] = {
    "TRL": ({"prompt": Q, "completion": A, "label": True}, True),
    "bad": ({"prompt": Q, "completion": A, "label": "no"}, False),
    "chats": ({"messages": [ASKED, GOOD], "label": True}, True),
    "thumbs": ({"question": Q, "answer": A, "thumbs_up": 0}, False),
    "a fault": ({"question": Q, "answer": A, "is_toxic": "true"}, False),
}


@pytest.mark.parametrize(("row", "good"), RATED.values(), ids=RATED)
def test_rated_answers_are_good_or_bad(row: dict[str, Any], good: bool, tmp_path: Path) -> None:
    label = list(row)[-1]
    other = {"True": False, "no": "yes", "0": 1, "true": "false"}[str(row[label])]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in (row, {**row, label: other})))
    report = dataset.inspect(Data(source=str(path), format="rated"))
    assert [each["label"] for each in report.preview] == [good, not good]
    assert all(each["messages"] == [ASKED, GOOD] for each in report.preview)
    refused = dataset.inspect(Data(source=str(path)))
    assert 'train.objective = "kto"' in str(refused.problems[0].problem)


@pytest.mark.parametrize("fmt", ["preference", "rated"])
def test_single_answers_are_refused_with_a_cure(fmt: DataFormat, tmp_path: Path) -> None:
    report = report_on(tmp_path / "rows.jsonl", {"question": Q, "answer": A}, fmt)
    assert not report.can_train
    assert 'train.objective = "sft"' in str(report.problems[0].problem)


def test_rated_answers_are_no_pairs(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{Q} {n}", "completion": A, "label": n % 2 == 0} for n in range(4)]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    report = dataset.inspect(Data(source=str(path), format="preference"))
    assert 'Set train.objective = "kto"' in str(report.problems[0].problem)


def test_columns_that_name_two_answers_are_no_lesson_for_sft(tmp_path: Path) -> None:
    row = {"q": Q, "good": A, "bad": B}
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert report_on(tmp_path / "rows.jsonl", row, "preference", columns).preview[0] == PAIR
    refused = report_on(tmp_path / "rows.jsonl", row, "auto", columns)
    assert 'Set train.objective = "dpo"' in str(refused.problems[0].problem)


def test_good_answers_may_all_come_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{Q} {n}", "completion": A, "label": n < 300} for n in range(400)]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    found = list(dataset.rows(Data(source=str(path), format="rated")))
    assert sum(row["label"] for row in found) == 300


def test_a_column_may_name_the_better_answer(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    kinds: tuple[tuple[dict[str, Any], str, str, str], ...] = (
        ({"prompt": Q}, "response_{}", "model_a", "model_b"),
        ({"question": Q}, "answer_{}", "A", "B"),
        ({}, "conversation_{}", "model_a", "model_b"),
    )
    for asked, column, first, second in kinds:
        good: Any = A if asked else [ASKED, GOOD]
        bad: Any = B if asked else [ASKED, BAD]
        one, other = column.format("a"), column.format("b")
        rows = [
            {**asked, one: good, other: bad, "winner": first},
            {**asked, one: bad, other: good, "winner": second},
            {**asked, one: bad, other: good, "winner": "tie"},
        ]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *rows[:2]]))
        report = dataset.inspect(Data(source=str(path), format="preference"))
        assert report.preview == (PAIR,) * 4
        assert report.counts["tie"] == 1
        refused = dataset.inspect(Data(source=str(path)))
        assert 'train.objective = "dpo"' in str(refused.problems[0].problem)


def test_a_number_that_may_mean_either_answer_is_no_winner(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"history": Q, "human_ref_A": A, "human_ref_B": B, "labels": 1}
    path.write_text("".join(f"{json.dumps({**row, 'labels': n % 2})}\n" for n in range(6)))
    report = dataset.inspect(Data(source=str(path), format="preference"))
    assert not report.can_train
    assert "no column says which is better" in str(report.problems[0].problem)
