"""What libraries write beside a training lies in fitune's folders, not wherever the user stands."""

import os
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from fitune.core.worker.__main__ import _set_environment


def test_what_libraries_write_lies_with_the_run_or_beside_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"WANDB_DIR": "/mine"})
    run = Run(tmp_path / "runs" / "it")
    _set_environment(run, None)
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(run.path / "tensorboard")
    assert os.environ["UNSLOTH_COMPILE_LOCATION"] == str(tmp_path / "cache" / "unsloth")
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert os.environ["WANDB_DIR"] == "/mine", "what the user set stays"
