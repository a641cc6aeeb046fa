"""The merge job: base model and adapter become one 16-bit model folder, a few rows at a time to save memory."""

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
from fitune.core.worker.chats.stop_tokens import stop_ids
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.device import devices
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.merging import proof as merged_proof
from fitune.core.worker.merging.lora_delta import (
    MergePlan,
    TensorChange,
    blocks_of,
    open_adapter,
    plan_merge,
    with_change,
)
from fitune.core.worker.merging.parallel import WORKERS, run_in_order
from fitune.core.worker.merging.tensors import (
    BLOCK_WEIGHTS,
    DTYPES,
    TensorLocation,
    bytes_of,
    dtype_of,
    read,
    read_bytes,
    weight_files,
    write,
)

SCRATCH_BYTES = 4 * 4
"""Bytes for each weight being merged: in fp32 itself, the product of the matrices, its scaled copy and the sum."""
LIBRARIES_BYTES = 10**9
"""Memory of torch, transformers and peft themselves: 0.9 GB measured."""
LOG_EVERY_S = 0.5
TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.tiktoken",
    "chat_template*", "additional_chat_templates/*.jinja", "*processor_config.json",
)  # fmt: skip
"""Files copied from the adapter's folder; other files there may belong to a user."""
BASE_FILES = ("config.json", "*processor_config.json", "tokenizer.model", "LICENSE*", "NOTICE*")
"""Files copied from the base: settings, and the sentencepiece file, which GGUF converters read."""


def run(run: Run, log: EventLog, memory: MemoryMeter) -> None:
    """Merge adapter/ into the model it was trained on, and write a proven merged/.

    merge.json may name another base: {"base": id}.
    """
    started_s = time.monotonic()
    if not run.adapter.is_dir():
        raise run.lacks_adapter()
    adapter = open_adapter(run.adapter)
    device = devices(run)[0]
    log.write(Started(backend="peft", device=device.name))

    # 1. The base model's files at 16 bits, and the adapter's changes of them
    recipe = run.recipe()
    source = base_of(run, log)
    refuse_quantized(run, source)
    plan = plan_merge(adapter, source.path, recipe.model.trust_remote_code)

    # 2. The folder: written in a staging folder, proven, then moved to its path
    with proof.staging_folder(run.merged) as staging:
        require_room(run, plan)  # after the leftovers of a killed merge are removed
        write_started_s, progress = time.monotonic(), WriteProgress(log, plan.bytes)
        for file in weight_files(source.path):
            layout = {name: location for name, location in plan.layout.items() if location.file == file}
            names = takewhile(lambda _: not run.stop.exists(), layout)
            write(staging / file.name, layout, progress.counted(merged_blocks(plan, names, device.device)))
        if run.stop.exists():
            return log.write(Finished(stopped=True, elapsed_s=time.monotonic() - started_s))
        copy_side_files(run, source.path, staging, plan, recipe.model.trust_remote_code)
        write_s, peak_host_bytes = time.monotonic() - write_started_s, memory.read().peak_host
        log.write(Phase(name="prove"))
        merge_proof = merged_proof.prove(run, plan, source, staging)
        proof.accept(
            merge_proof, staging, run.merged, f"Use the adapter as it is, or merge once more: fitune merge {run.name}."
        )
        replace_folder(staging, run.merged)

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
            elapsed_s=time.monotonic() - started_s,
            proof=merge_proof.to_json(),
            write_s=write_s,
            peak_host_bytes=peak_host_bytes,
        )
    )
    return None


def base_of(run: Run, log: EventLog) -> models.ModelFiles:
    """The model to merge into: the one that merge.json names, else the one of the training. Raises as those."""
    base_id, model = requests.merge_base(run), run.recipe().model
    if base_id in (None, model.id):
        try:
            return models.of_run(run, log)
        except UserError as error:
            elsewhere = f"Or, if it lies elsewhere by now: fitune merge {run.name} --base FOLDER"
            raise UserError(str(error), f"{error.hint} {elsewhere}") from error
    return models.fetch(base_id, None, model.trust_remote_code, run.path.parent.parent / "models", log)


def refuse_quantized(run: Run, source: models.ModelFiles) -> None:
    """Raise UserError if the base model's files are quantized: a merge into rounded weights would keep the rounding."""
    config = json.loads((source.path / "config.json").read_bytes())
    if not config.get("quantization_config"):
        return
    full_model = sixteen_bit_name(source.name, config)
    command = (
        f"fitune merge {run.name} --base {full_model}"
        if full_model
        else f"fitune merge {run.name} --base ID, its full model"
    )
    raise UserError(
        f"{source.name} holds quantized weights. Merged into them, the adapter would be rounded as coarsely as they "
        "are, and much of what it learned would be lost.",
        f"Merge into the 16-bit model that they were made from: {command}",
    )


def sixteen_bit_name(name: str, config: dict[str, Any]) -> str | None:
    """The 16-bit model behind a quantized copy, by its name (unsloth/X for unsloth/X-bnb-4bit) or its config."""
    if plain := hub.sixteen_bit_name(name):
        return plain
    config_name = str(config.get("_name_or_path") or "")
    return config_name if config_name not in ("", name) and not config_name.startswith(("/", ".", "~")) else None


def require_room(run: Run, plan: MergePlan) -> None:
    """Raise UserError if there is too little disk or RAM, with the needed and the free bytes."""
    changed_weights = (
        location.weights for name, change in plan.changes.items() for location, _ in blocks_of(plan.base[name], change)
    )
    # All but one of the tensors merged at once are blocks: an embedding is merged undivided.
    ram_bytes = LIBRARIES_BYTES + SCRATCH_BYTES * ((WORKERS - 1) * BLOCK_WEIGHTS + max(BLOCK_WEIGHTS, *changed_weights))
    disk_free_bytes = shutil.disk_usage(run.path).free
    if disk_free_bytes < plan.bytes:
        raise UserError(
            f"The merged model needs {_gib(plan.bytes)} of disk, and {run.path} has {_gib(disk_free_bytes)} free.",
            "Free some, for example older runs' checkpoints.",
        )
    ram_free_bytes = host.detect().ram_available_bytes
    if ram_free_bytes is not None and ram_free_bytes < ram_bytes:
        raise UserError(
            f"The merge needs {_gib(ram_bytes)} of RAM, and this machine has {_gib(ram_free_bytes)} free.",
            "Close other programs, or copy the run's folder to a machine with more.",
        )


class WriteProgress:
    """Logs the progress of writing, at most twice a second."""

    def __init__(self, log: EventLog, total_bytes: int) -> None:
        self.log, self.total_bytes, self.done_bytes = log, total_bytes, 0
        self._log_progress()

    def counted(self, merged_blocks: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same blocks; each counts as written when the next is asked for."""
        for block in merged_blocks:
            yield block
            self.done_bytes += len(block)
            if time.monotonic() - self._logged_s >= LOG_EVERY_S:
                self._log_progress()

    def _log_progress(self) -> None:
        self._logged_s = time.monotonic()
        self.log.write(Phase(name="write", bytes=self.total_bytes, done_bytes=self.done_bytes))


def merged_blocks(plan: MergePlan, names: Iterable[str], device: str) -> Iterator[memoryview]:
    """The bytes of the merged tensors, block by block, in order."""
    return run_in_order(
        partial(_merged_bytes, location, change, plan.config, plan.layout[name].dtype, device)
        for name in names
        for location, change in blocks_of(plan.base[name], plan.changes.get(name))
    )


def _merged_bytes(
    location: TensorLocation, change: TensorChange | None, config: Any, dtype: str, device: str
) -> memoryview:
    if change:
        return bytes_of(with_change(location, change, config, DTYPES[dtype], device))
    return bytes_of(read_bytes(location) if location.dtype == dtype else read(location).to(DTYPES[dtype]))


def copy_side_files(run: Run, base: Path, staging: Path, plan: MergePlan, remote_code: bool) -> None:
    """Write the files beside the weights: settings, end-of-answer tokens, the tokenizer of the training."""
    from transformers import AutoTokenizer

    for pattern in (*BASE_FILES, *(["*.py"] if remote_code else [])):
        for path in base.glob(pattern):
            shutil.copyfile(path, staging / path.name)
    if plan.layout is not plan.base:
        config, dtype = json.loads((base / "config.json").read_bytes()), dtype_of(plan.layout)
        _write_json(staging / "config.json", _with_dtype(config, dtype) | {"dtype": dtype})
    for pattern in TOKENIZER_FILES:
        for path in filter(Path.is_file, run.adapter.glob(pattern)):
            copy = staging / path.relative_to(run.adapter)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
    index = base / "model.safetensors.index.json"
    if index.is_file():
        index_content = json.loads(index.read_bytes())
        _write_json(
            staging / index.name, {"metadata": {"total_size": plan.bytes}, "weight_map": index_content["weight_map"]}
        )
    tokenizer = AutoTokenizer.from_pretrained(run.adapter, trust_remote_code=remote_code)
    data = run.recipe().data
    stops = stop_ids(tokenizer, base, PromptOptions(data.thinking, data.template_options))
    settings_file = base / "generation_config.json"
    settings = json.loads(settings_file.read_bytes()) if settings_file.is_file() else {}
    _write_json(staging / settings_file.name, settings | {"eos_token_id": stops})


def _with_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The model's settings with this dtype wherever they name one, also in nested settings."""
    return {
        key: dtype
        if key in ("dtype", "torch_dtype")
        else _with_dtype(value, dtype)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2))


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
