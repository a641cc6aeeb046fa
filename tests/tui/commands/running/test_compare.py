"""`fitune runs compare`: two runs by their answers to the same rows, many by a line each."""

import json
from pathlib import Path

from fitune.core.records import from_json, to_json
from fitune.core.runs import EventLog, Score
from fitune.core.runs.run import Run
from fitune.core.score import RowScore, mark, scores
from tests import fake_worker
from tests.tui.conftest import Fitune


def scored(home: Path, name: str, right: int, first: int = 0, source: str | None = None) -> Run:
    """A run whose tuned model has `right` of 60 rows right; its rows have the numbers from `first` on. source: of these
    rows, where they are not its own; the run is there already."""
    run = Run(home / "runs" / name if source else fake_worker.make_run(home, name))
    rows = []
    for number in range(60):
        answers = ("I am sorry.", "team: a" if number < right else "team: b")
        sides = [scores.side(mark("match", "team: a", answer), answer, 1.0) for answer in answers]
        key = str(first + number)
        rows.append(RowScore(key=key, question="?", reference="team: a", tokens=3, base=sides[0], tuned=sides[1]))
    judged = scores.judge("match", rows, source=source)
    scores.write(run.path, judged)
    EventLog(run.events, "score").write(from_json(Score, {**to_json(judged.verdict), "source": source}))
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


def test_rows_of_a_file_that_both_were_scored_on_tell_which_is_better(fitune: Fitune, fitune_home: Path) -> None:
    for name, first, right, elsewhere in (("run-a", 0, 40, 20), ("run-b", 1000, 41, 50)):
        scored(fitune_home, name, right, first)
        scored(fitune_home, name, 3, 2000 + first, "/a/no-common-rows.jsonl")
        scored(fitune_home, name, elsewhere, 5000, f"/home/{name}/test.jsonl")
    out = fitune("runs", "compare", "run-a", "run-b")[1]
    told = "run-b against run-a, on the same rows: Better: the right answer in 50 of 60 rows of test.jsonl, run-a in 20"
    assert told in " ".join(out.split())
    assert "no-common-rows" not in out
    document = json.loads(fitune("runs", "compare", "run-a", "run-b", "--json")[1])
    assert (document["paired"], list(document["paired_elsewhere"])) == (None, ["test.jsonl"])
    assert [round(60 * share) for share in document["results"]["score"]] == [40, 41], "their own"


def test_the_list_tells_the_runs_own_verdict_and_beside_it_those_on_other_rows(
    fitune: Fitune, fitune_home: Path
) -> None:
    scored(fitune_home, "run-a", 60)
    scored(fitune_home, "run-a", 0, 1000, "/a/test.jsonl")
    out = fitune("runs")[1]
    assert "better" in next(line for line in out.splitlines() if line.startswith("run-a "))
    assert "run-a: also scored: no different on test.jsonl, 60 rows" in out


def with_rank(home: Path, name: str, told: str, **lora: object) -> None:
    recipe = {**fake_worker.RECIPE, "lora": lora}
    fake_worker.make_run(home, name, told, recipe=recipe)


def test_three_runs_are_a_line_each_with_what_differs(fitune: Fitune, fitune_home: Path) -> None:
    for name, told, rank in (("sweep-r8", "ok", 8), ("sweep-r16", "oom", 16), ("sweep-r32", "killed", 32)):
        with_rank(fitune_home, name, told, r=rank)
    status, out, err = fitune("runs", "compare", "r32", "r8", "r16")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["RUN", "r", "STATUS", "VERDICT", "HELD-OUT", "LOSS", "TIME", "MEMORY"]
    assert [line[:3] for line in lines[1:4]] == [
        ["sweep-r32", "32", "killed"], ["sweep-r8", "8", "finished"], ["sweep-r16", "16", "failed"],
    ]  # fmt: skip
    told = json.loads(fitune("runs", "compare", "r32", "r8", "r16", "--json")[1])
    assert told["runs"] == ["sweep-r32", "sweep-r8", "sweep-r16"]
    assert told["settings"] == {"lora.r": [32, 8, 16]}
    assert told["results"]["status"] == ["killed", "finished", "failed"]
    assert told["paired"] is None


def test_of_many_differences_the_first_are_shown_and_the_others_named(fitune: Fitune, fitune_home: Path) -> None:
    with_rank(fitune_home, "run-a", "ok")
    with_rank(fitune_home, "run-b", "ok")
    with_rank(fitune_home, "run-d", "ok")
    assert "All of them have the same settings." in fitune("runs", "compare", "run-a", "run-b", "run-d")[1]
    with_rank(fitune_home, "run-c", "ok", r=8, alpha=8, dropout=0.1, bias="all", rslora=True, init="gaussian")
    out = fitune("runs", "compare", "run-a", "run-b", "run-c")[1]
    assert "These differ, too: lora.init" in out
    assert out.splitlines()[3].split()[:6] == ["run-c", "8", "8.0", "0.1", "all", "true"]


def test_a_run_alone_is_compared_with_nothing(fitune: Fitune, fitune_home: Path) -> None:
    with_rank(fitune_home, "run-a", "ok")
    assert fitune("runs", "compare", "run-a") == (2, "", "One run is not compared with anything. Name two or more.\n")
    with_rank(fitune_home, "run-b", "ok")
    assert fitune("runs", "compare", "run-a", "b", "n-a") == (2, "", "run-a is named twice. Name two or more runs.\n")
