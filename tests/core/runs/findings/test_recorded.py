"""Findings on trainings that were recorded: none on healthy ones at any step, and the right one on those that overfit.

tests/data/courses holds the losses of runs that `fitune demo` (135M, real) and bench/verdicts.py made on a processor.
"""

from pathlib import Path

import pytest

from fitune.core.runs import Finished, RunState, Tail
from fitune.core.runs.findings import findings

DATA = Path(__file__).parents[3] / "data"
HEALTHY = [
    *(DATA / "courses" / f"{name}.jsonl" for name in ("demo", "new_task", "random_labels", "exchanged_labels")),
    *(DATA / "runs" / f"{name}.jsonl" for name in ("demo", "ok")),
]


def told(path: Path) -> tuple[RunState, dict[str, int]]:
    """The state at a training's end, and the kind of each finding on its way with the number of events before it."""
    state, kinds = RunState(), dict[str, int]()
    for count, event in enumerate(Tail(path).catch_up(), 1):
        state.apply(event)
        for found in findings(state):
            kinds.setdefault(found.kind, count)
    return state, kinds


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_healthy_training_raises_no_alarm_from_its_first_step_to_its_last(path: Path) -> None:
    state, kinds = told(path)
    assert isinstance(state.end, Finished)
    assert kinds == {}


@pytest.mark.parametrize(("name", "kind"), [("by_heart", "memorised"), ("overfitted", "overfitting")])
def test_a_training_that_overfits_is_told_as_that_and_nothing_else(name: str, kind: str) -> None:
    state, kinds = told(DATA / "courses" / f"{name}.jsonl")
    assert set(kinds) <= {"memorised", "overfitting"}
    assert kind in {found.kind for found in findings(state)}
