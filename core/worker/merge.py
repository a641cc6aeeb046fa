"""Base model and adapter as one ordinary 16-bit model folder, computed on the CPU: the card may be too small."""

import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from core import machine
from core.errors import UserError
from core.events import EventLog
from core.runs import Run, replace_folder
from core.worker import models
from core.worker.memory import Memory

SHARD_BYTES = 2 * 10**9
"""Largest file of weights: while one is written its bytes may be held twice."""
SCRATCH_BYTES = 3 * 4
"""Of each weight while its tensor is merged: PEFT multiplies in fp32, with the product, its scaled copy and the sum."""


def run(run: Run, log: EventLog, memory: Memory) -> None:
    """Merge adapter/ into the model it was trained on and leave merged/, whole and checked."""
    began = time.monotonic()
    log.write("started", backend="peft", dtype="bfloat16", device="cpu")

    # 1. The base model at 16 bits, and room for another of its size
    if not run.adapter.is_dir():
        raise UserError(f"{run.name} has no adapter yet.", f"Train it first: fitune resume {run.name}")
    recipe = run.recipe()
    home = run.path.parent.parent
    (home / "models").mkdir(exist_ok=True)
    source = models.fetch(recipe.model.id, recipe.model.revision, recipe.model.trust_remote_code, home / "models", log)
    refuse_quantized(source)
    base_shapes = shapes_in(source.path)
    require_room(run, base_shapes)

    # 2. Both, as one
    log.write("phase", name="load", model=source.name, revision=source.revision)
    model, absent = load(run, source, recipe.model.trust_remote_code)
    if run.stop.exists():
        return _stopped(log, began)
    log.write("phase", name="merge")
    model = model.merge_and_unload()
    if run.stop.exists():
        return _stopped(log, began)

    # 3. The folder: written aside, looked at, then put in its place
    log.write("phase", name="write", bytes=sixteen_bit_bytes(base_shapes))
    aside = run.path / "merged.part"
    save(run, model, aside, recipe.model.trust_remote_code)
    log.write("phase", name="verify")
    absent |= set(getattr(model, "all_tied_weights_keys", {}))
    verify(run, source.path, aside, base_shapes, absent)
    replace_folder(aside, run.merged)

    files = [path for path in run.merged.rglob("*") if path.is_file()]
    log.write(
        "finished",
        merged="merged",
        bytes=sum(path.stat().st_size for path in files),
        files=len(files),
        tensors=len(shapes_in(run.merged)),
        elapsed_s=time.monotonic() - began,
    )
    return None


def refuse_quantized(source: models.Source) -> None:
    """Raise UserError if the base model's files are quantized: a merge onto rounded weights would keep the rounding."""
    config = orjson.loads((source.path / "config.json").read_bytes())
    if config.get("quantization_config"):
        raise UserError(
            f"{source.name} holds quantized weights; a 16-bit merge needs the full ones.",
            "Use the adapter as it is (fitune push uploads it), or train on the full model: set model.id to its "
            'name (often the same without "-bnb-4bit") and leave the rounding to model.quant.',
        )


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a model folder's safetensors files, by name; no weight is read."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        with safe_open(file, "pt") as opened:
            shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    return shapes


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights: those of its index, or all. Raises UserError if one is missing."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    files = sorted({folder / name for name in orjson.loads(index.read_bytes())["weight_map"].values()})
    if lost := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{folder} lacks {', '.join(lost[:3])}.", "Remove the folder and try again.")
    return files


def sixteen_bit_bytes(shapes: dict[str, tuple[int, ...]]) -> int:
    """Bytes of all these tensors at two a weight."""
    return 2 * sum(_weights(shape) for shape in shapes.values())


def require_room(run: Run, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise UserError if disk or RAM will not do, with what it needs and has."""
    merged_bytes = sixteen_bit_bytes(shapes)
    ram_bytes = merged_bytes + min(merged_bytes, SHARD_BYTES) + SCRATCH_BYTES * max(map(_weights, shapes.values()))
    disk_free_bytes = shutil.disk_usage(run.path).free
    if disk_free_bytes < merged_bytes:
        raise UserError(
            f"The merged model needs {_gib(merged_bytes)} of disk, and {run.path} has {_gib(disk_free_bytes)} free.",
            "Free some, for instance older runs' checkpoints.",
        )
    ram_free_bytes = machine.detect().ram_available_bytes
    if ram_free_bytes is not None and ram_free_bytes < ram_bytes:
        raise UserError(
            f"The merge needs {_gib(ram_bytes)} of RAM, and this machine has {_gib(ram_free_bytes)} free.",
            "Close other programs, or copy the run's folder to a machine with more.",
        )


def load(run: Run, source: models.Source, remote_code: bool) -> tuple[Any, set[str]]:
    """(the base model at bf16 on the CPU with the adapter on it, names in its files that it does not use).

    Raises UserError if a weight of the adapter found no place.
    """
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    base, info = AutoModelForCausalLM.from_pretrained(
        source.path,
        dtype=torch.bfloat16,
        device_map={"": "cpu"},
        trust_remote_code=remote_code,
        use_safetensors=True,
        output_loading_info=True,
    )
    model = PeftModel.from_pretrained(base, run.adapter, torch_device="cpu")
    wanted = {name for name in shapes_in(run.adapter) if "lora_" in name}
    placed = {name for name in get_peft_model_state_dict(model, save_embedding_layers=False) if "lora_" in name}
    if wanted != placed:
        odd = sorted(wanted ^ placed)
        raise UserError(
            f"The adapter does not fit {source.name} as transformers loads it: {len(odd)} tensors, such as {odd[0]}.",
            "Use it with the program that trained it.",
        )
    return model, set(info["unexpected_keys"])


def save(run: Run, model: Any, aside: Path, remote_code: bool) -> None:
    """Write the model with its generation settings, and the tokenizer with the chat template it was trained with."""
    from transformers import AutoTokenizer

    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside, max_shard_size=SHARD_BYTES)
    AutoTokenizer.from_pretrained(run.adapter, trust_remote_code=remote_code).save_pretrained(aside)


def verify(run: Run, base: Path, merged: Path, base_shapes: dict[str, tuple[int, ...]], absent: set[str]) -> None:
    """Raise UserError unless merged/ holds every tensor of the base, in its shape, and the adapter changed one.

    absent: names that the model shares with others or does not use, so they may be missing.
    """
    shapes = shapes_in(merged)
    expected = {name: shape for name, shape in base_shapes.items() if name in shapes or name not in absent}
    wrong = [name for name, shape in expected.items() if shapes.get(name) != shape]
    if wrong:
        raise UserError(f"The merged model lacks {len(wrong)} of {len(expected)} tensors, such as {wrong[0]}.")
    targets = targeted(shapes_in(run.adapter), shapes.keys() & base_shapes.keys())
    if not targets:
        raise UserError("None of the tensors that the adapter changes is in the merged model.")
    if not any(differs(base, merged, name) for name in targets):
        raise UserError(
            "The adapter changes no weight at 16 bits: it was hardly trained.", f"Train on: fitune resume {run.name}"
        )


def targeted(adapter: Iterable[str], names: Iterable[str]) -> list[str]:
    """Those of a model's tensors that an adapter's tensors belong to.

    `base_model.model.model.layers.0.q_proj.lora_A.weight` belongs to `model.layers.0.q_proj.weight`, which some files
    call `language_model.model.layers.0.q_proj.weight`.
    """
    ends = {"layers." + name.partition("layers.")[2].partition(".lora_")[0] + ".weight" for name in adapter}
    return sorted(name for name in names if "layers." in name and "layers." + name.partition("layers.")[2] in ends)


def differs(base: Path, merged: Path, name: str) -> bool:
    """Whether a tensor is another one in the merged folder than in the base at bf16."""
    import torch

    return not torch.equal(_tensor(base, name).to(torch.bfloat16), _tensor(merged, name))


def _tensor(folder: Path, name: str) -> Any:
    from safetensors import safe_open

    for file in weight_files(folder):
        with safe_open(file, "pt") as opened:
            if name in opened.keys():  # noqa: SIM118 - it is no mapping
                return opened.get_tensor(name)
    raise KeyError(name)


def _stopped(log: EventLog, began: float) -> None:
    log.write("finished", stopped=True, elapsed_s=time.monotonic() - began)


def _weights(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / machine.GIB:.1f} GiB"
