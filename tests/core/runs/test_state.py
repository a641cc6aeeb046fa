"""Several jobs in one log: a merge or a push says nothing about how the training went."""

from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs.run import Run
from fitune.core.runs.state import fold
from tests.events import event_of, write_raw

Told = tuple[str, str, dict[str, Any]]
TRAINED: list[Told] = [
    ("train", "started", {}), ("train", "phase", {"name": "sample"}), ("train", "finished", {"stopped": False}),
]  # fmt: skip
STOPPED: list[Told] = [("train", "started", {}), ("train", "finished", {"stopped": True})]
MERGE: Told = ("merge", "started", {})


@pytest.mark.parametrize(
    ("story", "training", "newest", "trained"),
    [
        (TRAINED, "finished", "finished", True),
        ([*TRAINED, MERGE, ("merge", "finished", {})], "finished", "finished", True),
        ([*TRAINED, MERGE, ("merge", "failed", {})], "finished", "failed", True),
        ([*TRAINED, MERGE], "finished", "killed", True),
        ([*STOPPED, MERGE, ("merge", "finished", {})], "stopped", "finished", False),
        ([*TRAINED, MERGE, ("merge", "failed", {}), ("train", "started", {})], "killed", "killed", False),
        ([*TRAINED, MERGE, ("merge", "failed", {}), MERGE, ("merge", "finished", {})], "finished", "finished", True),
    ],
)
def test_each_job_has_its_own_end(tmp_path: Path, story: list[Told], training: str, newest: str, trained: bool) -> None:
    run = Run(tmp_path)
    for job, kind, data in story:
        write_raw(run.events, kind, job, **data)
    status, state = run.current()
    assert (status, run.status(state), state.trained) == (training, newest, trained)


def test_a_verdict_on_other_rows_stands_beside_the_runs_own() -> None:
    own, other, pairs = (
        {"word": "better", "rows": 64},
        {"word": "worse", "rows": 9},
        {"word": "no different", "rows": 20},
    )
    story: list[Told] = [
        ("train", "score", own),
        ("score", "started", {}),
        ("score", "preferred", {**pairs, "source": "/a/test.jsonl"}),
        ("score", "score", {**other, "source": "/a/test.jsonl"}),
        ("score", "started", {}),
        ("score", "score", {**other, "source": "me/set"}),
    ]
    events = [event_of(seq, float(seq), job, kind, **data) for seq, (job, kind, data) in enumerate(story, 1)]
    state = fold(events)
    assert (state.word, state.preferred) == ("better", None)
    assert {source: (found.word, found.score.rows) for source, found in state.elsewhere.items()} == {
        "/a/test.jsonl": ("no different", 9),
        "me/set": ("worse", 9),
    }
    again = fold([event_of(9, 9.0, "train", "started")], state.copy())
    assert (again.word, again.elsewhere) == (None, {}), "what is trained further was not scored"
    assert len(state.elsewhere) == 2


def test_a_new_job_does_not_show_the_phase_of_the_last() -> None:
    story = [*TRAINED, MERGE]
    state = fold(event_of(seq, float(seq), job, kind, **data) for seq, (job, kind, data) in enumerate(story, 1))
    assert (state.job, state.phase.name) == ("merge", "")


@pytest.mark.parametrize(
    ("phases", "is_past"),
    [
        (("load", "sample"), False),
        (("load", "sample", "train"), False),
        (("load", "sample", "train", "save"), True),
        (("load", "sample", "train", "save", "sample"), True),
        (("load", "sample", "train", "save", "sample", "score"), True),
    ],
)
def test_the_questions_behind_the_last_step_are_past_the_training(phases: tuple[str, ...], is_past: bool) -> None:
    story = [("started", {}), *(("phase", {"name": name}) for name in phases)]
    events = [event_of(seq, float(seq), "train", kind, **data) for seq, (kind, data) in enumerate(story, 1)]
    state = fold(events)
    assert state.is_past_training == is_past
    assert not fold([event_of(9, 9.0, "train", "started")], state).is_past_training, "a resume takes steps again"
    assert not fold([event_of(9, 9.0, "train", "finished")], fold(events)).is_past_training, "it is over"


@pytest.mark.parametrize(
    ("lock", "trains"),
    [(b'{"job":"train"}', True), (b'{"job":"push"}', False), (b'{"pid":1}', True), (b"", True), (b"[]", True)],
)
def test_only_a_merge_or_push_leaves_the_card_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: bytes, trains: bool
) -> None:
    run = Run(tmp_path)
    run.lock.write_bytes(lock)
    assert not run.trains(), "nobody holds the lock"
    monkeypatch.setattr(Run, "holder_pid", lambda _: 1)
    assert run.trains() == trains
