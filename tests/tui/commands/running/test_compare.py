"""`fitune runs compare`: two runs by their answers to the same rows."""

import json
from pathlib import Path

from fitune.core.records import from_json, to_json
from fitune.core.runs import EventLog, Score
from fitune.core.runs.run import Run
from fitune.core.score import RowScore, mark, scores
from tests import fake_worker
from tests.tui.conftest import Fitune


def scored(home: Path, name: str, right: int, first: int = 0) -> Run:
    """A run whose tuned model has `right` of 60 rows right; its rows have the numbers from `first` on."""
    run = Run(fake_worker.make_run(home, name))
    rows = []
    for number in range(60):
        answers = ("I am sorry.", "team: a" if number < right else "team: b")
        sides = [scores.side(mark("match", "team: a", answer), answer, 1.0) for answer in answers]
        key = str(first + number)
        rows.append(RowScore(key=key, question="?", reference="team: a", tokens=3, base=sides[0], tuned=sides[1]))
    judged = scores.judge("match", rows)
    scores.write(run.path, judged)
    EventLog(run.events, "score").write(from_json(Score, to_json(judged.verdict)))
    return run


def test_the_second_run_is_judged_against_the_first(fitune: Fitune, fitune_home: Path) -> None:
    scored(fitune_home, "run-a", 20)
    scored(fitune_home, "run-b", 50)
    status, out, _ = fitune("runs", "compare", "run-a", "run-b")
    assert status == 0
    assert "run-b against run-a, on the same rows: Better: the right answer in 50 of 60 held-out rows" in out
    assert "run-a in 20" in out
    paired = json.loads(fitune("runs", "compare", "run-b", "run-a", "--json")[1])["paired"]
    assert (paired["word"], paired["rows"], paired["p"] < 0.01) == ("worse", 60, True)


def test_runs_without_common_rows_are_told_how_to_be_compared(fitune: Fitune, fitune_home: Path) -> None:
    scored(fitune_home, "run-a", 20)
    scored(fitune_home, "run-b", 50, first=1000)
    fake_worker.make_run(fitune_home, "run-c")
    out = fitune("runs", "compare", "run-a", "run-b")[1]
    assert "not scored on the same rows by the same metric" in out
    assert "fitune score run-a --data FILE and fitune score run-b --data FILE" in out
    assert "run-c not scored" in fitune("runs", "compare", "run-a", "run-c")[1]
    assert json.loads(fitune("runs", "compare", "run-a", "run-b", "--json")[1])["paired"] is None
