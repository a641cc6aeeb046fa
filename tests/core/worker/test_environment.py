"""The environment of a training: what libraries write lies in fitune's folders, and Unsloth is imported quickly."""

import gc
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from fitune.core.memory import CHUNK_TARGET_CAP
from fitune.core.recipe import Model
from fitune.core.runs.run import Run
from fitune.core.units import GIB
from fitune.core.worker.__main__ import _set_environment
from fitune.core.worker.training import model_with_adapter

LOSS, LIMIT = "unsloth_zoo.fused_losses.cross_entropy_loss", "_CE_TARGET_GB_CAP"


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


def test_compiled_code_is_kept_for_the_next_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    _set_environment(Run(tmp_path / "runs" / "it"), None)
    with _unsloth("import os\ndel os.environ['TORCHINDUCTOR_CACHE_DIR']\n", tmp_path, monkeypatch):
        model_with_adapter.prepare("unsloth")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "inductor"), "unsloth_zoo drops it"
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "cache" / "triton")


def test_unsloth_is_imported_without_a_search_for_garbage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _unsloth("import gc\nlooked = gc.isenabled()\n", tmp_path, monkeypatch):
        model_with_adapter.prepare("unsloth")
        assert not sys.modules["unsloth"].looked
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0


@pytest.mark.parametrize(("model_type", "processes"), [("llama", "1"), ("qwen3_5", None), (None, None)])
def test_only_compiled_models_get_a_compile_process_for_each_core(
    model_type: str | None, processes: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with _unsloth("", tmp_path, monkeypatch):
        model_with_adapter.prepare("unsloth", Model(id=str(tmp_path)))
    assert os.environ.get("UNSLOTH_FORCE_SINGLE_COMPILE_WORKER") == processes


def test_a_base_that_is_not_there_is_no_concern_of_the_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _unsloth("", tmp_path, monkeypatch):
        model_with_adapter.prepare("unsloth", Model(id=str(tmp_path / "absent")))


def test_unsloth_computes_the_loss_in_chunks_of_the_size_that_the_budget_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _unsloth("", tmp_path, monkeypatch):
        model_with_adapter.prepare("unsloth")
        assert sys.modules[LOSS].__dict__[LIMIT] == CHUNK_TARGET_CAP / GIB == 2.0


def test_the_pinned_unsloth_reads_the_limit_of_its_chunks_where_it_is_set() -> None:
    package = importlib.util.find_spec("unsloth_zoo")  # found, not imported: that takes a card
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).with_name("fused_losses") / "cross_entropy_loss.py"
    assert f"return min(_default_target_gb(device), {LIMIT})" in source.read_text()


@contextmanager
def _unsloth(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module `unsloth` with this text, and one for its loss."""
    (folder / "unsloth.py").write_text(text)
    monkeypatch.setitem(sys.modules, LOSS, ModuleType(LOSS))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.modules.pop("unsloth", None)
        gc.unfreeze()
