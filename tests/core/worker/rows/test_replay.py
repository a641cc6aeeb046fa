"""The base model's own answers to general prompts, and general rows of a data set, as rows to train on."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Phase, Run, Warned
from tests.core.worker.conftest import train_here
from tests.events import data_of

STOP = 2


class Parrot:
    """Answers each prompt with its last tokens, one answer without an end in three."""

    device, training = "cpu", True

    def __init__(self) -> None:
        self.asked = count()

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def generate(self, input_ids: Any, **_: Any) -> Any:
        import torch

        last = input_ids[:, -3:]
        ends = torch.tensor([[STOP if next(self.asked) % 3 else 5] for _ in input_ids])
        return torch.cat([input_ids, last, ends], dim=1)


@pytest.fixture
def answered(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from fitune.core.worker.rows import replay

    coder = SimpleNamespace(decode=lambda ids, **_: " ".join(map(str, ids)))
    monkeypatch.setattr(replay, "stop_ids", lambda *_: [STOP])
    monkeypatch.setattr(replay, "prompt_ids", lambda turns, *_: list(range(10, 13 + len(turns[0]["content"]) % 4)))

    def answer(run: Run, wanted: int, model: Any = None) -> Any:
        log = EventLog(run.events, "train")
        return replay.own_answers(run, run.recipe(), model or Parrot(), coder, Path(), wanted, log)

    return answer


def test_there_are_a_hundred_prompts_of_which_no_two_are_alike() -> None:
    from fitune.core.worker.rows.replay import prompts

    assert len(prompts()) == len(set(prompts())) == 100
    assert all(line == line.strip() and len(line) > 10 for line in prompts())


def test_answers_that_come_to_their_end_are_rows_and_the_others_are_told(
    make_run: Callable[..., Run], answered: Callable[..., Any]
) -> None:
    run = make_run(data={"replay": 0.1})
    rows = answered(run, 6)
    assert [len(row["messages"]) for row in rows] == [2] * 6
    assert rows[0]["messages"][0]["content"].startswith("What is the difference between weather")
    (said,) = data_of(run.events, Warned)
    assert "3 that were too long" in said.message
    assert said.count == 3


def test_a_model_that_runs_out_of_prompts_gives_what_it_has(
    make_run: Callable[..., Run], answered: Callable[..., Any]
) -> None:
    assert len(answered(make_run(data={"replay": 0.1}), 200)) == 66


class Mute(Parrot):
    """Ends each answer at once."""

    def generate(self, input_ids: Any, **_: Any) -> Any:
        import torch

        return torch.cat([input_ids, torch.full((len(input_ids), 2), STOP)], dim=1)


class Endless(Parrot):
    """Never ends an answer."""

    def generate(self, input_ids: Any, **_: Any) -> Any:
        import torch

        return torch.cat([input_ids, torch.full((len(input_ids), 9), 5)], dim=1)


@pytest.mark.parametrize(("model", "why"), [(Mute(), "empty"), (Endless(), "too long")])
def test_a_model_that_cannot_answer_is_told_after_a_few_prompts(
    make_run: Callable[..., Run], answered: Callable[..., Any], model: Parrot, why: str
) -> None:
    run = make_run(data={"replay": 0.5})
    with pytest.raises(UserError, match=rf"first 16 answers to general prompts were all {why}"):
        answered(run, 40, model)
    assert not (run.path / "replay.jsonl").exists()


def test_a_run_that_resumes_takes_the_answers_that_it_has(
    make_run: Callable[..., Run], answered: Callable[..., Any]
) -> None:
    run = make_run(data={"replay": 0.1})
    assert answered(run, 6) == answered(run, 6, object())


def test_a_stop_ends_the_answering_and_keeps_nothing(
    make_run: Callable[..., Run], answered: Callable[..., Any]
) -> None:
    run = make_run(data={"replay": 0.1})
    run.request_stop()
    assert answered(run, 6) == []
    assert not (run.path / "replay.jsonl").exists()


def test_a_split_model_answers_nothing(
    make_run: Callable[..., Run], answered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.worker.rows.replay.splits", lambda recipe: True)
    with pytest.raises(UserError, match=r"data\.replay"):
        answered(make_run(data={"replay": 0.1}), 6)


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("from_file", [True, False])
def test_general_rows_are_trained_on_beside_the_own_ones(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_file: bool
) -> None:
    def answers(*asked: Any) -> Any:  # the tiny model never ends an answer
        return (([{"role": "user", "content": prompt}], "Yes.") for prompt in asked[3])

    monkeypatch.setattr("fitune.core.worker.rows.replay._answers", answers)
    general = tmp_path / "general.jsonl"
    general.write_text(
        "".join(json.dumps({"question": f"Name {n}.", "answer": f"It is {n}."}) + "\n" for n in range(30))
    )
    run = make_run(
        train={"max_steps": 2}, data={"replay": 0.2, **({"replay_source": str(general)} if from_file else {})}
    )
    train_here(run)
    assert run.current()[0] == "finished"
    phases = [each for each in data_of(run.events, Phase) if each.name == "replay"]
    kept = run.path / "replay.jsonl"
    assert phases[-1].rows == 10
    assert from_file or len(kept.read_bytes().splitlines()) == 10
    prepared = next(each for each in data_of(run.events, Phase) if each.name == "prepare")
    assert json.loads((run.path / "rows.json").read_bytes())["rows"] == 40 + 10
    assert (prepared.rows or 0) - 10 in range(20, 40)  # the others are held out


def test_the_prepare_job_counts_general_rows_behind_the_own_ones(make_run: Callable[..., Run], tmp_path: Path) -> None:
    from fitune.core.worker.rows.prepare import _with_general

    general = tmp_path / "general.jsonl"
    rows = [{"question": f"Name {n}.", "answer": f"It is {n}."} for n in range(30)]
    general.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = make_run(data={"replay": 0.2, "replay_source": str(general)}).recipe().data
    own = [{"text": str(n)} for n in range(40)]
    found = list(_with_general(own, data))
    assert (found[:40], len(found)) == (own, 50)
