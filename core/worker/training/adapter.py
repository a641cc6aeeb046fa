"""The adapter as training leaves it: right on its plain base however it was started, and named as the world knows it.

PiSSA and OLoRA start with a part of the base's weights W in the adapter, and train on what is left of them:
W - s B0 A0, with s the adapter's scale. Saved as it is, such an adapter would need those changed weights.
"""

import shutil
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import load_file, save_file

from fitune.core.files import replace_folder, write_atomically
from fitune.core.recipe import MOVES_THE_BASE
from fitune.core.runs import Run
from fitune.core.worker.changed_base import keep_digest
from fitune.core.worker.models import ModelFiles

FIRST, SECOND = (".lora_A.weight", ".lora_embedding_A"), (".lora_B.weight", ".lora_embedding_B")
"""How the names of an adapter's tensors end: A is [rank, in], B is [out, rank]."""


def remember_start(run: Run, model: Any) -> None:
    """Keep what the base is, and how an adapter that moved it starts; on a resumed run, have both start as they did.

    Without this a resume on another machine, whose decomposition rounds otherwise, would train on another base.
    """
    from peft import get_peft_model_state_dict

    keep_digest(run)
    if run.recipe().lora.init not in MOVES_THE_BASE:
        return
    place = start_file(run)
    if place.exists():
        _start_as(model, load_file(place))
    else:
        held = get_peft_model_state_dict(model, save_embedding_layers=False)
        aside = place.with_suffix(".part")
        save_file({name: matrix.contiguous() for name, matrix in held.items() if name.endswith(FIRST + SECOND)}, aside)
        aside.replace(place)


def start_file(run: Run) -> Path:
    """Where the start of an adapter lies that moved its base."""
    return run.path / "start.safetensors"


@torch.no_grad()
def _start_as(model: Any, start: dict[str, torch.Tensor]) -> None:
    """Give each layer the matrices of that start, and its base the weights that belong to them."""
    from peft.utils.other import transpose

    for name, layer in model.named_modules():
        if f"{name}.lora_A.weight" not in start:
            continue
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        a0, b0 = start[f"{name}.lora_A.weight"].to(a), start[f"{name}.lora_B.weight"].to(b)
        if torch.equal(a, a0) and torch.equal(b, b0):
            continue
        weight = layer.get_base_layer().weight
        moved = layer.scaling["default"] * (b.float() @ a.float() - b0.float() @ a0.float())
        weight.data = (weight.float() + transpose(moved, layer.fan_in_fan_out)).to(weight.dtype)
        a.data, b.data = a0, b0


def save(run: Run, model: Any, tokenizer: Any, source: ModelFiles) -> None:
    """Write adapter/ with its tokenizer; its config names the base model and its commit, not a cache path."""
    aside = run.path / "adapter.part"
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    _change_config(aside, {"base_model_name_or_path": source.name, "revision": source.revision})
    if run.recipe().lora.init in MOVES_THE_BASE:
        make_plain(aside, start_file(run))
    replace_folder(aside, run.adapter)


def make_plain(folder: Path, start: Path) -> None:
    """Rewrite a saved adapter, of a training that moved its base, as one of twice the rank for the plain base.

    W - s B0 A0 + s B A = W + s [B, -B0] [A; A0]: what PEFT's save_pretrained does for
    path_initial_model_for_weight_conversion, which drops trained biases and the magnitudes of DoRA. Where the base
    is at 16 bits this leaves out the rounding of W - s B0 A0, which is no coarser than that of W.
    """
    config = orjson.loads((folder / "adapter_config.json").read_bytes())
    rank = 2 * config["r"]
    held = load_file(folder / "adapter_model.safetensors")
    for name, first in load_file(start).items():
        if name.endswith(FIRST):
            held[name] = _of_rank(rank, torch.cat([held[name], first]))
        else:
            held[name] = _of_rank(rank, torch.cat([held[name], -first], 1).T).T.contiguous()
    save_file(held, folder / "adapter_model.safetensors", {"format": "pt"})
    # The scale is alpha / r, or alpha / sqrt(r) with rsLoRA: it must stay what it was.
    alpha = config["lora_alpha"] * (2**0.5 if config["use_rslora"] else 2)
    _change_config(folder, {"r": rank, "lora_alpha": alpha, "init_lora_weights": True})


def _of_rank(rank: int, rows: torch.Tensor) -> torch.Tensor:
    """The rows with zeros below, as many as the rank: a matrix with fewer dimensions than it has less of its own."""
    return torch.nn.functional.pad(rows, (0, 0, 0, rank - rows.shape[0]))


def _change_config(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "adapter_config.json"
    write_atomically(path, orjson.dumps(orjson.loads(path.read_bytes()) | changes, option=orjson.OPT_INDENT_2))
