"""`fitune stop`: what a stop changes, and where it changes nothing more."""

from pathlib import Path

from fitune.core.runs import Run
from tests.fake_worker import make_run, start, wait_until
from tests.tui.conftest import Fitune


def test_behind_its_last_step_a_training_is_not_asked_to_stop(fitune: Fitune, fitune_home: Path) -> None:
    run = Run(make_run(fitune_home))
    worker = start(run.path, "scored", "--rate", "500", "--then", "hang")
    wait_until(lambda: run.state().is_past_training)
    status, _, err = fitune("stop", run.name)
    worker.kill()
    worker.wait()
    assert status == 0
    assert f"{run.name} has taken its last step, and ends by itself. At once: fitune stop {run.name} --now" in err
    assert not run.stop.exists()
