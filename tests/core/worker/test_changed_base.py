"""A base model in a folder that is no longer the one of the training is refused, with what has changed."""

import json
from pathlib import Path

import pytest

from fitune.core.errors import UserError
from fitune.core.runs.run import Run
from fitune.core.worker.changed_base import keep_digest, refuse_changed_base
from tests.fake_worker import make_run


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"rope_theta": 1e5, "transformers_version": "5.17.0"}))
    (folder / "model.safetensors").write_bytes(bytes(10_000))
    return folder


@pytest.fixture
def trained(tmp_path: Path, base: Path) -> Run:
    recipe = {"version": 1, "model": {"id": str(base)}, "data": {"source": "rows.jsonl"}}
    run = Run(make_run(tmp_path, recipe=recipe))
    keep_digest(run)
    run.adapter.mkdir()
    return run


def test_the_same_base_is_let_pass(trained: Run, base: Path) -> None:
    refuse_changed_base(trained, base)
    (base / "config.json").write_text(json.dumps({"rope_theta": 1e5, "transformers_version": "6"}))
    refuse_changed_base(trained, base)


def test_other_weights_are_refused(trained: Run, base: Path) -> None:
    (base / "model.safetensors").write_bytes(b"1" * 10_000)
    with pytest.raises(UserError, match=r"The weights in .* were changed since"):
        refuse_changed_base(trained, base)


def test_another_config_is_refused_with_what_has_changed(trained: Run, base: Path) -> None:
    (base / "config.json").write_text(json.dumps({"rope_theta": 1e4}))
    with pytest.raises(UserError, match=r"rope_theta was 100000\.0, is 10000\.0"):
        refuse_changed_base(trained, base)


def test_a_run_of_an_older_version_knows_the_weights_alone(trained: Run, base: Path) -> None:
    kept = json.loads((trained.path / "base.json").read_text())
    del kept["config"]
    (trained.path / "base.json").write_text(json.dumps(kept))
    (base / "config.json").write_text(json.dumps({"rope_theta": 1e4}))
    refuse_changed_base(trained, base)


def test_a_damaged_record_is_a_sentence(trained: Run, base: Path) -> None:
    (trained.path / "base.json").write_text("{")
    with pytest.raises(UserError, match=r"base\.json can't be read"):
        refuse_changed_base(trained, base)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_config_is_a_sentence(trained: Run, base: Path, content: str) -> None:
    (base / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json (can't be read|is not an object)"):
        refuse_changed_base(trained, base)
