"""`fitune demo`: its exit status is that of the whole job, which is to get better."""

from pathlib import Path

import pytest

from fitune.core import jobs
from fitune.core.jobs import Begun
from fitune.core.records import from_json, to_json
from fitune.core.runs import EventLog, Finished, Score, Started
from fitune.core.runs.run import Run
from fitune.core.score import RowScore, mark, scores
from tests import fake_worker
from tests.tui.conftest import Fitune


def row(number: int, before: str, after: str) -> RowScore:
    """A row whose right answer is "team: a"."""
    sides = [scores.side(mark("match", "team: a", answer), answer, 1.0) for answer in (before, after)]
    return RowScore(
        key=str(number), question=f"Where is {number}?", reference="team: a", tokens=3, base=sides[0], tuned=sides[1]
    )


@pytest.fixture
def demo_run(fitune_home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What `fitune demo` starts: a run that has finished."""
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "train")
    log.write(Started())
    log.write(Finished())
    monkeypatch.setattr(jobs, "begin", lambda *_, **__: Begun(run, "setsid", "trl", ()))
    return run


def test_a_demo_that_learnt_shows_it_and_says_what_comes_next(fitune: Fitune, demo_run: Run) -> None:
    rows = [row(number, "I am sorry.", "team: a" if number else "team: b") for number in range(64)]
    judged = scores.judge("match", rows)
    scores.write(demo_run.path, judged)
    log = EventLog(demo_run.events, "train")
    log.write(from_json(Score, to_json(judged.verdict)))
    log.write(Finished())
    status, out, err = fitune("demo")
    assert status == 0
    assert "held-out rows" not in err, "the verdict is told once"
    assert "Better: the right answer in 63 of 64 held-out rows, before in 0" in out
    assert "before    I am sorry." in out
    assert "after     team: a" in out
    assert f"fitune chat {demo_run.name}" in out


@pytest.mark.parametrize("amount", [64, 0])
def test_a_demo_that_did_not_get_better_fails_and_says_so(fitune: Fitune, demo_run: Run, amount: int) -> None:
    if amount:
        scores.write(demo_run.path, scores.judge("match", [row(n, "no", "no") for n in range(amount)]))
    status, out, err = fitune("demo")
    assert status == 1
    assert "What next" not in out, "nobody merges a model that learnt nothing"
    assert ("this demo has failed" if amount else "It was not scored") in err
