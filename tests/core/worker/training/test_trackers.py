"""A tracker that fails is told once, and the training goes on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.runs import EventLog, Warned
from tests.events import data_of

OF_TRACKERS = "transformers.integrations.integration_utils"


def logged(tmp_path: Path, module: str) -> tuple[Any, Any]:
    """A tracker whose login was lost, and another callback, after three steps. module: the first one's."""
    from transformers import TrainerCallback
    from transformers.trainer_callback import CallbackHandler

    from fitune.core.worker.training.trackers import spare_from_trackers

    class Lost(TrainerCallback):
        asked = 0

        def on_log(self, *_: Any, **__: Any) -> None:
            self.asked += 1
            raise RuntimeError("No login: hf_abcdefghijklmnopqrstuvwxyz is not known.")

    class Counts(TrainerCallback):
        steps = 0

        def on_log(self, *_: Any, **__: Any) -> None:
            self.steps += 1

    Lost.__module__ = module
    lost, counts = Lost(), Counts()
    handler = CallbackHandler([lost, counts], None, None, None, None)
    spare_from_trackers(SimpleNamespace(callback_handler=handler), "wandb", EventLog(tmp_path / "events", "train"))
    for _ in range(3):
        handler.call_event("on_log", SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), logs={"loss": 1.0})
    return lost, counts


def test_a_tracker_that_fails_is_told_once_without_its_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, counts = logged(tmp_path, OF_TRACKERS)
    assert (lost.asked, counts.steps) == (1, 3)
    (told,) = data_of(tmp_path / "events", Warned)
    assert told.kind == "tracker"
    assert (
        "wandb failed and gets no more numbers; the training goes on. It said: RuntimeError: No login" in told.message
    )
    logged_too = capsys.readouterr().err
    assert "No login" in logged_too
    assert "hf_abc" not in told.message + logged_too


def test_another_callback_still_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No login"):
        logged(tmp_path, __name__)
