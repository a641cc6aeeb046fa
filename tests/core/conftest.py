"""Run folders whose workers are fakes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fitune.core import runs
from fitune.core.runs import spawn
from fitune.core.runs.run import Run
from tests.fake_worker import make_run, stand_in


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Makes run folders; workers that are still alive at the end are killed."""

    def made(name: str = "run-a", **info: Any) -> Run:
        return Run(make_run(tmp_path, name, **info))

    yield made
    for run in runs.all_runs(tmp_path):
        run.kill()


@pytest.fixture
def run(make: Callable[..., Run]) -> Run:
    return make()


@pytest.fixture
def minute_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake worker in place of the real one, and no systemd unless a test brings it."""
    monkeypatch.setattr(spawn, "_command", stand_in("steps:3000", "--rate", "50"))
    monkeypatch.setattr(spawn, "_lingering_user_manager", lambda: False)
