"""The saved adapter: it fits the plain base model however it was initialised, and its config names that model.

PiSSA and OLoRA move a part of the base's weights W into the adapter, and train on the rest: W - s B0 A0, where s is the
adapter's scale. Saved as it is, such an adapter would need those changed weights. LoftQ trains on the weights in 4 bits
that come near to W - s B0 A0, so its adapter is saved for W, too.
"""

import shutil
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import load_file, save_file

from fitune.core.files import replace_folder, write_atomically
from fitune.core.recipe import BEGINS_FILLED, MOVES_THE_BASE
from fitune.core.runs import Run
from fitune.core.worker.changed_base import keep_digest
from fitune.core.worker.models import ModelFiles

A_SUFFIXES, B_SUFFIXES = (".lora_A.weight", ".lora_embedding_A"), (".lora_B.weight", ".lora_embedding_B")
"""The ends of the names of an adapter's tensors: A is [rank, in], B is [out, rank]."""


def remember_start(run: Run, model: Any) -> None:
    """Keep the digest of the base, and the first matrices of an adapter that begins filled; a resume restores them.

    Else a resume on another machine, whose decomposition rounds differently, would train on another base.
    """
    from peft import get_peft_model_state_dict

    keep_digest(run)
    init = run.recipe().lora.init
    if init not in BEGINS_FILLED:
        return
    path = start_file(run)
    if path.exists():
        _restore_start(model, load_file(path), init in MOVES_THE_BASE)
    else:
        tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
        part = path.with_suffix(".part")
        save_file(
            {name: matrix.contiguous() for name, matrix in tensors.items() if name.endswith(A_SUFFIXES + B_SUFFIXES)},
            part,
        )
        part.replace(path)


def start_file(run: Run) -> Path:
    """The file with the first matrices of an adapter that begins filled."""
    return run.path / "start.safetensors"


@torch.no_grad()
def _restore_start(model: Any, start: dict[str, torch.Tensor], base_moved: bool) -> None:
    """Set each layer to the matrices of that start, and its base, where that moved, to the weights that fit them."""
    from peft.utils.other import transpose

    for name, layer in model.named_modules():
        if f"{name}.lora_A.weight" not in start:
            continue
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        a0, b0 = start[f"{name}.lora_A.weight"].to(a), start[f"{name}.lora_B.weight"].to(b)
        if torch.equal(a, a0) and torch.equal(b, b0):
            continue
        if not base_moved:
            a.data, b.data = a0, b0
            continue
        weight = layer.get_base_layer().weight
        moved = layer.scaling["default"] * (b.float() @ a.float() - b0.float() @ a0.float())
        weight.data = (weight.float() + transpose(moved, layer.fan_in_fan_out)).to(weight.dtype)
        a.data, b.data = a0, b0


def save(
    run: Run, model: Any, tokenizer: Any, source: ModelFiles, tensors: dict[str, torch.Tensor] | None = None
) -> None:
    """Write adapter/ with its tokenizer; its config names the base model and its commit, not a cache path.

    tensors: the adapter, where the model does not hold it as a whole.
    """
    part = run.path / "adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part, **({} if tensors is None else {"state_dict": tensors}))
    tokenizer.save_pretrained(part)
    name_tokenizer_for_all(part)
    _change_config(part, {"base_model_name_or_path": source.name, "revision": source.revision})
    if run.recipe().lora.init in BEGINS_FILLED:
        make_plain(part, start_file(run))
    replace_folder(part, run.adapter)


def name_tokenizer_for_all(folder: Path) -> None:
    """Write a tokenizer's settings in words that older releases of transformers know, too.

    transformers 5 names its general class TokenizersBackend, and lists further special tokens as extra_special_tokens;
    4.57 knows neither, and 5 still reads what 4.57 wrote.
    """
    path = folder / "tokenizer_config.json"
    settings = orjson.loads(path.read_bytes())
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_atomically(path, orjson.dumps(settings, option=orjson.OPT_INDENT_2))


def make_plain(folder: Path, start: Path) -> None:
    """Rewrite a saved adapter that began filled as plain LoRA of twice the rank, for the plain base.

    W - s B0 A0 + s B A = W + s [B, -B0] [A; A0]: what PEFT's save_pretrained does for
    path_initial_model_for_weight_conversion, which drops trained biases and the magnitudes of DoRA. Where the base
    is at 16 bits this leaves out the rounding of W - s B0 A0, which is no coarser than that of W.
    """
    config = orjson.loads((folder / "adapter_config.json").read_bytes())
    rank = 2 * config["r"]
    tensors = load_file(folder / "adapter_model.safetensors")
    for name, first in load_file(start).items():
        if name.endswith(A_SUFFIXES):
            tensors[name] = _padded_to(rank, torch.cat([tensors[name], first]))
        else:
            tensors[name] = _padded_to(rank, torch.cat([tensors[name], -first], 1).T).T.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    # The scale is alpha / r, or alpha / sqrt(r) with rsLoRA: it must stay what it was.
    alpha = config["lora_alpha"] * (2**0.5 if config["use_rslora"] else 2)
    _change_config(folder, {"r": rank, "lora_alpha": alpha, "init_lora_weights": True})


def _padded_to(rank: int, rows: torch.Tensor) -> torch.Tensor:
    """The rows, with rows of zeros below up to the rank: a matrix smaller than the rank has fewer of its own."""
    return torch.nn.functional.pad(rows, (0, 0, 0, rank - rows.shape[0]))


def _change_config(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "adapter_config.json"
    write_atomically(path, orjson.dumps(orjson.loads(path.read_bytes()) | changes, option=orjson.OPT_INDENT_2))
