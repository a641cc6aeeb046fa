"""The merge job on a real small model: the merged model answers as the base with its adapter does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import train_here

from core.errors import UserError
from core.events import EventLog
from core.runs import Run

pytestmark = pytest.mark.train


def merge_here(run: Run) -> None:
    """The merge job in this process."""
    from core.worker import merge
    from core.worker.memory import Memory

    merge.run(run, EventLog(run.events, "merge"), Memory(None, None))


def test_the_merged_model_answers_as_base_and_adapter_do(make_run: Callable[..., Run], tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.worker import merge

    run = make_run()
    train_here(run)
    merge_here(run)
    ids = torch.arange(3, 20)[None]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    before = base(ids).logits
    tuned = PeftModel.from_pretrained(base, run.adapter)(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(run.merged, dtype="auto")
    assert merged.dtype == torch.bfloat16
    off = (merged.to(torch.float32)(ids).logits - tuned).abs().max()
    assert off < 0.02 < (before - tuned).abs().max() / 5, "bf16 rounding against what training changed"

    saved = AutoTokenizer.from_pretrained(run.merged)
    assert saved.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    assert (run.merged / "generation_config.json").is_file()
    assert not (run.path / "merged.part").exists()
    state = run.state()
    assert state.trained
    assert (state.job, state.phase) == ("merge", "verify")
    assert state.end
    assert state.end.data["merged"] == "merged"
    assert state.end.data["tensors"] == len(merge.shapes_in(tiny_model)) == 21
    assert state.end.data["bytes"] == sum(path.stat().st_size for path in run.merged.iterdir())

    merge_here(run)  # once more, over the older one
    assert not (run.path / "merged.old").exists()


def test_a_quantized_base_is_refused_with_what_to_do(make_run: Callable[..., Run], tiny_model: Path) -> None:
    import shutil

    run = make_run()
    run.adapter.mkdir()
    folder = run.path / "model-bnb-4bit"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"load_in_4bit": True}}))
    rename_model(run, folder)
    with pytest.raises(UserError, match=r"holds quantized weights.*set model\.id"):
        merge_here(run)


def test_without_an_adapter_there_is_nothing_to_merge(make_run: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="no adapter yet"):
        merge_here(make_run())


@pytest.mark.parametrize(("where", "said"), [("disk", "of disk, and .* has 0.0 GiB free"), ("ram", "of RAM")])
def test_too_little_room_is_said_before_anything_is_loaded(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    from types import SimpleNamespace

    run = make_run()
    run.adapter.mkdir()
    if where == "disk":
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    else:
        monkeypatch.setattr("core.machine.detect", lambda: SimpleNamespace(ram_available_bytes=1000))
    with pytest.raises(UserError, match=said):
        merge_here(run)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda weights: weights.pop("model.norm.weight"), "lacks 1 of"),
        (lambda weights: weights.update({"model.norm.weight": weights["model.norm.weight"][:3].clone()}), "lacks 1 of"),
        (lambda weights: None, "changes no weight"),
    ],
)
def test_a_merged_folder_that_is_not_right_is_refused(
    make_run: Callable[..., Run], tiny_model: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from core.worker import merge

    run = make_run()
    run.adapter.mkdir()
    lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({lora: torch.ones(2, 2)}, run.adapter / "adapter_model.safetensors")
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(tiny_model / "model.safetensors").items()}
    spoil(weights)
    merged = tmp_path / "merged"
    merged.mkdir()
    save_file(weights, merged / "model.safetensors")
    with pytest.raises(UserError, match=said):
        merge.verify(run, tiny_model, merged, merge.shapes_in(tiny_model), set())


def test_a_lost_file_of_weights_is_named(tmp_path: Path) -> None:
    from core.worker.merge import weight_files

    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(UserError, match="lacks model-00002-of-00002"):
        weight_files(tmp_path)


def test_a_stop_before_the_merge_leaves_what_was_there(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 2})
    train_here(run)
    run.request_stop()
    merge_here(run)
    state = run.state()
    assert state.end
    assert state.end.data["stopped"]
    assert state.trained
    assert not run.merged.exists()


def rename_model(run: Run, folder: Path) -> None:
    """Point the run at another model."""
    info = run.info()
    info["recipe"]["model"]["id"] = str(folder)
    (run.path / "run.json").write_text(json.dumps(info))
