"""After a job that was stopped or killed, the command that is shown starts the same job."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs import EventLog, Failed, Finished, Forgot, Score, Started
from fitune.core.runs.run import Run
from fitune.tui.cli import parser
from fitune.tui.watch.ending import ending, repeat_command
from tests import fake_worker


@pytest.mark.parametrize(
    ("job", "wish", "expected"),
    [
        ("merge", {"base": None}, "fitune merge mine"),
        ("merge", {"base": "me/full"}, "fitune merge mine --base me/full"),
        ("export", {"gguf": ["f16", "q8_0"]}, "fitune export mine --gguf f16 q8_0"),
        ("push", {"repo": "me/it", "private": True, "what": "adapter"}, "fitune push mine --repo me/it"),
        ("push", {"repo": "me/it", "private": False, "what": "gguf"}, "fitune push mine --repo me/it --gguf --public"),
        (
            "push",
            {"repo": "me/it", "private": True, "what": "checkpoints"},
            "fitune push mine --repo me/it --checkpoints",
        ),
        ("push", {"repo": "a; rm -rf b", "private": True, "what": "/etc"}, "fitune push mine --repo 'a; rm -rf b'"),
        ("push", {"repo": "me/it"}, "fitune push mine --repo ID"),
        ("export", [], "fitune export mine --gguf KIND"),
        ("merge", None, "fitune merge mine"),
        ("score", {"data": None, "rows": None}, "fitune score mine"),
        ("score", {"data": "/a b.jsonl", "rows": 9}, "fitune score mine --data '/a b.jsonl' --rows 9"),
    ],
)
def test_it_is_the_wish_as_it_was_typed(tmp_path: Path, job: str, wish: Any, expected: str) -> None:
    run = Run(tmp_path / "mine")
    run.path.mkdir()
    if wish is not None:
        (run.path / f"{job}.json").write_text(json.dumps(wish))
    assert repeat_command(run, job) == expected
    assert parser().parse_args(shlex.split(expected)[1:]).command == job


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Finished(best_lr=4e-4, elapsed_s=2.0), "The race is over: 4e-4 won."),
        (Finished(elapsed_s=2.0), "The race is over: every rate diverged."),
        (Finished(stopped=True, elapsed_s=2.0), "The race was stopped as asked; nothing was changed."),
        (Failed(kind="bug", message="No row.", hint="Add some."), "The race failed: No row."),
        (Failed(kind="data", message="It may be:\n  a\n  b", hint=""), "The race failed: It may be: a b"),
    ],
)
def test_a_race_is_called_a_race_in_each_of_its_ends(fitune_home: Path, end: Finished | Failed, said: str) -> None:
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "tune-lr")
    log.write(Started())
    log.write(end)
    found = ending(run, "failed" if isinstance(end, Failed) else "finished", run.state())
    assert found.sentence == said


@pytest.mark.parametrize(("word", "mark"), [("better", "OK"), ("worse", "WARN"), ("no different", "WARN")])
def test_the_verdict_stands_at_the_end(fitune_home: Path, word: str, mark: str) -> None:
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "train")
    log.write(Started())
    log.write(Score(word=word, metric="match", rows=64, base=0.5, tuned=0.9, low=0.3, high=0.5, p=0.001))
    log.write(Finished(steps=3, elapsed_s=2.0))
    found = ending(run, "finished", run.state())
    assert found.mark == mark
    assert "in 58 of 64 held-out rows, before in 32" in found.sentence
    log = EventLog(run.events, "train")
    log.write(Started())
    assert run.state().score is None, "a training that goes on has none"


@pytest.mark.parametrize(("word", "mark"), [("worse", "WARN"), ("no different", "OK")])
def test_what_was_forgotten_stands_beside_the_verdict(fitune_home: Path, word: str, mark: str) -> None:
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "train")
    log.write(Started())
    log.write(Score(word="better", metric="match", rows=64, base=0.5, tuned=0.9, low=0.3, high=0.5, p=0.001))
    log.write(Forgot(word=word, rows=200, base=0.5, tuned=0.25, low=-0.3, high=-0.2, p=0.001, most="facts"))
    log.write(Finished(steps=3, elapsed_s=2.0))
    found = ending(run, "finished", run.state())
    assert found.mark == mark
    assert "50 of 200 general questions right, before 100" in found.sentence
    assert ("data.replay = 0.1" in found.sentence) == (word == "worse")
    log = EventLog(run.events, "train")
    log.write(Started())
    assert run.state().forgot is None, "a training that goes on has none"


def test_a_score_on_other_rows_ends_with_theirs_and_leaves_the_runs_own(fitune_home: Path) -> None:
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "train")
    log.write(Started())
    log.write(Score(word="better", metric="match", rows=64, base=0.5, tuned=0.9, low=0.3, high=0.5, p=0.001))
    log.write(Finished(steps=3, elapsed_s=2.0))
    source = "/home/me/new\x1b rows.jsonl"
    (run.path / "score.json").write_text(json.dumps({"data": source}))
    log = EventLog(run.events, "score")
    log.write(Started())
    found_there = Score(word="worse", metric="match", rows=120, base=0.5, tuned=0.25, low=-0.3, high=-0.2, p=0.001)
    log.write(replace(found_there, source=source))
    log.write(Finished(elapsed_s=2.0))
    state = run.state()
    assert state.word == "better"
    assert state.score is not None
    assert state.score.rows == 64
    found = ending(run, "finished", state)
    assert found.mark == "WARN"
    assert found.sentence.startswith("Worse: the right answer in 30 of 120 rows of new␛ rows.jsonl, before in 60")
    assert found.sentence.endswith("The verdict on the run's own held-out rows stays: better.")
    assert found.next.endswith(str(run.path / "scores"))
    (run.path / "score.json").write_text("{}")
    assert "58 of 64 held-out rows" in ending(run, "finished", state).sentence
