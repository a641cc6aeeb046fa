"""The environment of a training: what libraries write lies in fitune's folders, and Unsloth is imported quickly."""

import gc
import importlib
import os
import sys
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from fitune.core.worker.__main__ import _set_environment
from fitune.core.worker.training import model_with_adapter


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


def test_unsloth_is_imported_without_a_search_for_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unsloth.py").write_text("import gc\nlooked = gc.isenabled()\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    importlib.invalidate_caches()
    try:
        model_with_adapter.prepare("unsloth")
        assert not sys.modules.pop("unsloth").looked
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    assert os.environ["UNSLOTH_FORCE_SINGLE_COMPILE_WORKER"] == "1"
