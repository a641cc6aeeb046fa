"""`fitune demo`: its exit status is that of the whole job, which is to learn."""

from pathlib import Path

import pytest

from fitune.core import jobs
from fitune.core.jobs import Begun
from fitune.core.runs import EventLog, Finished, Started, Step
from fitune.core.runs.run import Run
from tests import fake_worker
from tests.tui.conftest import Fitune


@pytest.mark.parametrize(("last_loss", "expected"), [(0.5, 0), (1.5, 1)])
def test_a_demo_that_learned_nothing_fails_and_says_so(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch, last_loss: float, expected: int
) -> None:
    run = Run(fake_worker.make_run(fitune_home))
    log = EventLog(run.events, "train")
    log.write(Started())
    for step, loss in enumerate((1.0, last_loss), 1):
        log.write(Step(step=step, loss=loss))
    log.write(Finished())
    monkeypatch.setattr(jobs, "begin", lambda *_, **__: Begun(run, "setsid", "trl", ()))
    status, _, err = fitune("demo")
    assert status == expected
    assert ("The loss did not fall" in err) is bool(expected)
