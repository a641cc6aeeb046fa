"""The score at the end of a real training: the adapter that learnt a task is better, and the files say so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs import Eval, EventLog, Finished, Forgot, Score, Warned
from fitune.core.runs.run import Run
from fitune.core.score import scores
from tests.core.worker.conftest import train_here
from tests.events import data_of

pytestmark = pytest.mark.train
ANIMALS = ("cat", "dog", "cow", "hen")


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """400 rows whose answer is the only animal in the question."""
    path = tmp_path / "animals.jsonl"
    rows = [{"question": f"{n} is the number of the {ANIMALS[n % 4]}.", "answer": ANIMALS[n % 4]} for n in range(400)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.usefixtures("unasked")
def test_an_adapter_that_learnt_is_better(make_run: Callable[..., Run], animals: Path) -> None:
    run = make_run(
        data={"source": str(animals)},
        lora={"dropout": 0, "r": 16, "alpha": 64},
        train={
            "max_steps": 150,
            "micro_batch": 8,
            "grad_accum": 1,
            "eval_every": 50,
            "save_every": 150,
            "score": "all",
        },
    )
    train_here(run)
    (verdict,) = data_of(run.events, Score)
    assert not data_of(run.events, Warned)
    assert (verdict.word, verdict.metric, verdict.rows) == ("better", "label", 64)
    assert verdict.base_loss is not None
    assert verdict.tuned_loss is not None
    assert verdict.base == 0 < verdict.tuned
    assert verdict.tuned_loss < verdict.base_loss
    looks = data_of(run.events, Eval)
    assert [look.step for look in looks] == [0, 50, 100, 150]
    (end,) = data_of(run.events, Finished)
    assert end.delivered_step in (50, 100, 150)
    kept = scores.read(run.path)
    assert kept is not None
    assert len(kept.rows) == 64
    (forgot,) = data_of(run.events, Forgot)
    assert 16 <= forgot.rows == len(kept.probe)
    assert kept.forgetting is not None
    assert kept.forgetting.word == forgot.word
    assert sum(row.tuned.right for row in kept.rows) == round(64 * verdict.tuned)


@pytest.mark.usefixtures("unasked")
def test_a_score_on_another_file_stands_beside_the_runs_own(make_run: Callable[..., Run], tmp_path: Path) -> None:
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.scoring import job

    train = {"max_steps": 2, "eval_every": None, "save_every": 2, "score": "all"}
    run = make_run(data={"eval_fraction": 0.2}, train=train)
    train_here(run)
    (own,), kept = data_of(run.events, Score), scores.read(run.path)
    sums = (tmp_path / "sums.jsonl").read_text().splitlines()
    held_out = {row.question for row in kept.rows} if kept else set()
    trained = [line for line in sums if json.loads(line)["question"] not in held_out]
    new = [json.dumps({"question": f"What is {n} less 1?", "answer": f"It is {n - 1}."}) for n in range(9)]
    new.append(json.dumps({"question": "What is pi?", "answer": "It is 3.1415926535." * 40}))
    other = tmp_path / "new.jsonl"
    other.write_text("".join(line + "\n" for line in [*trained[:5], *new]))
    (run.path / "score.json").write_text(json.dumps({"data": str(other)}))
    job.run(run, EventLog(run.events, "score"), MemoryMeter(None, None))
    state = run.state()
    assert state.score == own
    assert scores.read(run.path) == kept
    assert (own.source, own.rows) == (None, 8)
    assert len(data_of(run.events, Forgot)) == 1, "general questions are not asked once more"
    (found,) = scores.elsewhere(run.path)
    told = state.elsewhere[str(other)].score
    assert (found.source, found.verdict.rows, found.verdict.leaked) == (str(other), 9, 5)
    assert (told.rows, told.leaked, told.word) == (9, 5, "can't tell")
    assert [each.message for each in data_of(run.events, Warned) if each.kind == "score"] == [
        "1 of 15 rows can't be scored: they have no answer that ends within 128 tokens."
    ]
    run.change({"train.max_steps": 4})
    train_here(run)
    assert not scores.elsewhere(run.path), "they are of what the model was before"


@pytest.mark.usefixtures("unasked")
def test_answers_of_other_questions_make_no_better_model(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """Free text is judged by its loss, which answers of other rows lower too."""
    path = tmp_path / "replies.jsonl"
    reply = "Thank you very much for your letter about our farm and all who live here. We will look after the {} today."
    rows = [{"question": f"{n} is the number.", "answer": reply.format(ANIMALS[n * 7919 % 4])} for n in range(400)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = make_run(
        data={"source": str(path)},
        model={"max_seq_length": 256},
        train={"max_steps": 8, "micro_batch": 8, "grad_accum": 1, "eval_every": 8, "save_every": 8, "score": "all"},
    )
    train_here(run)
    (verdict,) = data_of(run.events, Score)
    assert (verdict.metric, verdict.rows, verdict.blind) == ("text", 64, True)
    assert verdict.word == "can't tell"
    assert verdict.tuned < verdict.base - 0.2


def test_rows_of_a_file_that_say_nearly_the_same_as_trained_ones_are_told(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    from fitune.core.deliver import ScoreRequest
    from fitune.core.worker.scoring.job import rows_of

    asked = (
        "My kettle with the number {n} came on {day} with a crack in its lid; may I send it back to you for a new one?"
    )
    rows = [{"question": asked.format(n=n * n, day=f"day {n}"), "answer": "returns"} for n in range(40)]
    (tmp_path / "kettles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = make_run(data={"source": str(tmp_path / "kettles.jsonl"), "eval_fraction": 0}, train={"eval_every": None})
    near = {**rows[3], "question": rows[3]["question"].replace("?", ", please?")}
    new = [{"question": f"What is {word} in one word, I have forgotten it?", "answer": word} for word in ANIMALS]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in [rows[2], near, *new, *new]))
    found, keys = rows_of(run, run.recipe(), ScoreRequest(str(other)), EventLog(run.events, "score"))
    assert (len(found), len(keys)) == (10, 40)
    (warned,) = data_of(run.events, Warned)
    assert warned.message.startswith("1 row says nearly the same as a row that was trained on")
