"""Base model and adapter as one ordinary 16-bit model folder, a few rows at a time: no model lies in memory whole."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from fitune.core import hub
from fitune.core.deliver import proof, requests
from fitune.core.errors import UserError
from fitune.core.files import replace_folder
from fitune.core.machine import host
from fitune.core.runs import EventLog, Finished, Phase, Run, Started
from fitune.core.units import GIB
from fitune.core.worker import models
from fitune.core.worker.device import places
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.merging import proof as merged_proof
from fitune.core.worker.merging.lora_delta import Change, Plan, changed, open_adapter, pieces, planned
from fitune.core.worker.merging.overlap import AT_ONCE, in_order
from fitune.core.worker.merging.tensors import (
    BLOCK_WEIGHTS,
    DTYPES,
    Slot,
    bytes_of,
    read,
    read_bytes,
    weight_files,
    write,
)
from fitune.core.worker.stops import stop_ids

SCRATCH_BYTES = 4 * 4
"""Of each weight in hand: as fp32 itself, the product of the matrices, its scaled copy and the sum."""
LIBRARIES_BYTES = 10**9
"""What torch, transformers and peft take by themselves: 0.9 GB measured."""
TELL_EVERY_S = 0.5
OF_A_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.tiktoken",
    "chat_template*", "*processor_config.json",
)  # fmt: skip
"""What goes along from the adapter; whatever else lies there may be anybody's."""
SIDE_FILES = ("config.json", "*processor_config.json", "tokenizer.model", "LICENSE*", "NOTICE*")
"""What goes along from the base: settings, and the sentencepiece file, which GGUF converters read."""


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Merge adapter/ into the model it was trained on and leave merged/, whole and proven.

    merge.json may name another base: {"base": id}.
    """
    began = time.monotonic()
    if not run.adapter.is_dir():
        raise UserError(f"{run.name} has no adapter yet.", f"Train it first: fitune resume {run.name}")
    adapter = open_adapter(run.adapter)
    place = places(run)[0]
    log.write(Started(backend="peft", device=place.name))

    # 1. The base model's files at 16 bits, and a place in them for all that the adapter changes
    recipe = run.recipe()
    source = base_of(run, log)
    refuse_quantized(run, source)
    plan = planned(adapter, source.path, recipe.model.trust_remote_code)

    # 2. The folder, written aside, looked at, then put in its place
    with proof.staging_folder(run.merged) as aside:
        require_room(run, plan)  # what a killed merge left is gone by now
        began_writing, written = time.monotonic(), Written(log, plan.bytes)
        for file in weight_files(source.path):
            layout = {name: slot for name, slot in plan.layout.items() if slot.file == file}
            wanted = takewhile(lambda _: not run.stop.exists(), layout)
            write(aside / file.name, layout, written.counted(parts(plan, wanted, place.device)))
        if run.stop.exists():
            return log.write(Finished(stopped=True, elapsed_s=time.monotonic() - began))
        copy_side_files(run, source.path, aside, plan, recipe.model.trust_remote_code)
        write_s, peak_host_bytes = time.monotonic() - began_writing, memory.read().peak_host
        log.write(Phase(name="prove"))
        proven = merged_proof.prove(run, plan, source, aside)
        proof.accept(
            proven, aside, run.merged, f"Use the adapter as it is, or merge once more: fitune merge {run.name}."
        )
        replace_folder(aside, run.merged)

    files = [path for path in run.merged.rglob("*") if path.is_file()]
    log.write(
        Finished(
            merged="merged",
            base=source.name,
            revision=source.revision,
            bytes=sum(path.stat().st_size for path in files),
            files=len(files),
            tensors=len(plan.base),
            changed_tensors=len(plan.changes),
            elapsed_s=time.monotonic() - began,
            proof=proven.to_json(),
            write_s=write_s,
            peak_host_bytes=peak_host_bytes,
        )
    )
    return None


def base_of(run: Run, log: EventLog) -> models.Source:
    """The model to merge into: the one that merge.json names, else the very one of the training. Raises as those."""
    base, model = requests.merge_base(run), run.recipe().model
    if base in (None, model.id):
        return models.of_run(run, log)
    return models.fetch(base, None, model.trust_remote_code, run.path.parent.parent / "models", log)


def refuse_quantized(run: Run, source: models.Source) -> None:
    """Raise UserError if the base model's files are quantized: a merge onto rounded weights would keep the rounding."""
    config = json.loads((source.path / "config.json").read_bytes())
    if not config.get("quantization_config"):
        return
    full = sixteen_bit_name(source.name, config)
    what = f"fitune merge {run.name} --base {full}" if full else f"fitune merge {run.name} --base ID, its full model"
    raise UserError(
        f"{source.name} holds quantized weights. Merged into them, the adapter would be rounded as coarsely as they "
        "are, and much of what it learned would be lost.",
        f"Merge onto the 16-bit model that they were made from: {what}",
    )


def sixteen_bit_name(name: str, config: dict[str, Any]) -> str | None:
    """The model that a quantized copy was made from, by its name (unsloth/X-bnb-4bit is of unsloth/X) or its config."""
    if plain := hub.sixteen_bit_name(name):
        return plain
    told = str(config.get("_name_or_path") or "")
    return told if told not in ("", name) and not told.startswith(("/", ".", "~")) else None


def require_room(run: Run, plan: Plan) -> None:
    """Raise UserError if disk or RAM will not do, with what it needs and has."""
    in_hand = (slot.weights for name, change in plan.changes.items() for slot, _ in pieces(plan.base[name], change))
    # All that are worked on at once are blocks, but one: an embedding, which is changed whole.
    ram_bytes = LIBRARIES_BYTES + SCRATCH_BYTES * ((AT_ONCE - 1) * BLOCK_WEIGHTS + max(BLOCK_WEIGHTS, *in_hand))
    disk_free_bytes = shutil.disk_usage(run.path).free
    if disk_free_bytes < plan.bytes:
        raise UserError(
            f"The merged model needs {_gib(plan.bytes)} of disk, and {run.path} has {_gib(disk_free_bytes)} free.",
            "Free some, for instance older runs' checkpoints.",
        )
    ram_free_bytes = host.detect().ram_available_bytes
    if ram_free_bytes is not None and ram_free_bytes < ram_bytes:
        raise UserError(
            f"The merge needs {_gib(ram_bytes)} of RAM, and this machine has {_gib(ram_free_bytes)} free.",
            "Close other programs, or copy the run's folder to a machine with more.",
        )


class Written:
    """Tells how far the writing has come, at most twice a second."""

    def __init__(self, log: EventLog, total_bytes: int) -> None:
        self.log, self.total_bytes, self.done_bytes = log, total_bytes, 0
        self._tell()

    def counted(self, parts: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same parts; each counts as written when the next is asked for."""
        for part in parts:
            yield part
            self.done_bytes += len(part)
            if time.monotonic() - self._told_s >= TELL_EVERY_S:
                self._tell()

    def _tell(self) -> None:
        self._told_s = time.monotonic()
        self.log.write(Phase(name="write", bytes=self.total_bytes, done_bytes=self.done_bytes))


def parts(plan: Plan, names: Iterable[str], device: str) -> Iterator[memoryview]:
    """The bytes of merged tensors, block by block, in order."""
    return in_order(
        partial(_merged_bytes, slot, change, plan.config, plan.layout[name].dtype, device)
        for name in names
        for slot, change in pieces(plan.base[name], plan.changes.get(name))
    )


def _merged_bytes(slot: Slot, change: Change | None, config: Any, dtype: str, device: str) -> memoryview:
    if change:
        return bytes_of(changed(slot, change, config, DTYPES[dtype], device))
    return bytes_of(read_bytes(slot) if slot.dtype == dtype else read(slot).to(DTYPES[dtype]))


def copy_side_files(run: Run, base: Path, aside: Path, plan: Plan, remote_code: bool) -> None:
    """Write all that makes the weights a model: settings, what ends an answer, the tokenizer as it was trained with."""
    from transformers import AutoTokenizer

    for pattern in (*SIDE_FILES, *(["*.py"] if remote_code else [])):
        for path in base.glob(pattern):
            shutil.copyfile(path, aside / path.name)
    if plan.layout is not plan.base:
        config = json.loads((base / "config.json").read_bytes())
        _write_json(aside / "config.json", _at_16_bits(config) | {"dtype": "bfloat16"})
    for pattern in OF_A_TOKENIZER:
        for path in filter(Path.is_file, run.adapter.glob(pattern)):
            shutil.copyfile(path, aside / path.name)
    index = base / "model.safetensors.index.json"
    if index.is_file():
        told = json.loads(index.read_bytes())
        _write_json(aside / index.name, {"metadata": {"total_size": plan.bytes}, "weight_map": told["weight_map"]})
    tokenizer = AutoTokenizer.from_pretrained(run.adapter, trust_remote_code=remote_code)
    settings = base / "generation_config.json"
    generation = json.loads(settings.read_bytes()) if settings.is_file() else {}
    _write_json(aside / settings.name, generation | {"eos_token_id": stop_ids(tokenizer, base)})


def _at_16_bits(config: dict[str, Any]) -> dict[str, Any]:
    """The model's settings with bfloat16 wherever they name a type; a model of several parts has some within others."""
    return {
        key: "bfloat16" if key in ("dtype", "torch_dtype") else _at_16_bits(value) if isinstance(value, dict) else value
        for key, value in config.items()
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
