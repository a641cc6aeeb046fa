"""What training really holds on a card: a grid of recipes on random-weight models, by the worker's own functions.

usage: python bench/vram.py MODELS_DIR [--only TEXT] [--at-once N] [--out FILE.jsonl]
Builds the models it needs in MODELS_DIR. Each load of a model is a process of its own and runs its cases in turn, with
gradients, optimizer and cache cleared between them. Prints one JSON line a case, after one that names card and
versions; `bench/score_budget.py` compares them with the budget.
"""

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from fitune.core.machine.host import Gpu, detect
from fitune.core.memory import CHUNK_TARGET_CAP
from fitune.core.recipe.fields import Recipe
from fitune.core.recipe.load import parse
from fitune.core.units import GIB

STEPS = 3
"""Optimizer states appear in the first step, so the second is the first true peak."""
LOAD_LIMIT_S = 900
"""After so long a load with all its cases is given up."""
L1, L3, L8 = "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"
TINY, Q05, Q06 = "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen3-0.6B"
Q4, Q7, Q8 = "Qwen/Qwen3-4B", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B"
Q14, Q32 = "Qwen/Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-32B-Instruct"
MISTRAL, GEMMA, PHI = "mistralai/Mistral-7B-Instruct-v0.3", "google/gemma-2-2b-it", "microsoft/Phi-3-mini-4k-instruct"
TRL = {"train.backend": "trl", "train.checkpointing": "on"}
BF16, ON, OFF = {"model.quant": "bf16"}, {"train.checkpointing": "on"}, {"train.checkpointing": "off"}
STORED_NF4 = frozenset({PHI, Q4, Q7, Q8, Q14, Q32, MISTRAL})
"""Models made in 4 bits, as Unsloth's own repositories hold them: their 16-bit files would fill the disk."""


def rows(*sizes: tuple[int, int], **changes: Any) -> list[dict[str, Any]]:
    """Cases of one load: (micro-batch, length) each, with the same further changes."""
    return [{"train.micro_batch": batch, "model.max_seq_length": length, **changes} for batch, length in sizes]


LOADS: tuple[tuple[str, dict[str, Any], list[dict[str, Any]]], ...] = (
    # (model, what the load has other than NF4, r 16 and unsloth, its cases: the larger later, as buffers stay)
    (TINY, {}, rows((2, 2048), (8, 512), (16, 2048))),
    (TINY, {**TRL, **BF16}, rows((2, 2048))),
    (Q05, {}, rows((2, 2048), (8, 1024), (4, 4096))),
    (Q05, TRL, rows((2, 1024), (4, 2048))),
    (Q06, {}, rows((2, 2048), (8, 1024))),
    (L1, {}, rows((2, 2048), (1, 8192), (8, 2048))),
    (L1, {"train.grad_accum": 4}, rows((2, 2048))),
    (L1, {"train.optimizer": "adamw_torch"}, rows((2, 2048))),
    (L1, ON, rows((1, 4096), (2, 2048))),
    (L1, OFF, rows((1, 1024), (2, 2048))),
    (L1, {**BF16, "train.optimizer": "adamw_torch_fused"}, rows((4, 1024), (2, 2048))),
    (L1, {"lora.r": 128}, rows((1, 512), (2, 2048))),
    (L1, TRL, rows((1, 1024), (2, 2048), (1, 8192))),
    (L1, {**TRL, **BF16}, rows((1, 2048), (4, 1024))),
    (L1, {**TRL, **OFF}, rows((1, 2048))),
    (L1, {"lora.dora": True}, rows((1, 1024), (2, 2048), (4, 2048))),
    (L1, {**TRL, "lora.dora": True}, rows((1, 1024), (2, 2048), (4, 2048))),
    (L1, {"lora.dropout": 0.05}, rows((2, 2048), (8, 2048))),
    (L1, {**TRL, "model.quant": "int8"}, rows((1, 1024), (2, 2048))),
    (L3, {}, rows((1, 1024), (2, 2048), (4, 4096))),
    (L3, ON, rows((1, 4096), (2, 2048))),
    (L3, TRL, rows((1, 2048), (4, 2048))),
    (L3, {"lora.dora": True}, rows((2, 2048))),
    (PHI, {}, rows((1, 1024), (2, 2048), (4, 2048))),
    (Q4, {}, rows((2, 2048), (1, 8192))),
    (Q4, TRL, rows((1, 2048), (2, 2048))),
    (MISTRAL, {}, rows((2, 2048), (4, 4096))),
    (Q7, {}, rows((2, 2048), (1, 16384))),
    (L8, {}, rows((1, 512), (2, 2048), (4, 4096), (1, 16384))),
    (L8, {"lora.r": 64, "train.optimizer": "paged_adamw_8bit"}, rows((1, 1024), (2, 2048))),
    (L8, {"train.offload_layers": 16}, rows((2, 2048), (1, 4096))),
    (L8, ON, rows((2, 2048))),
    (L8, TRL, rows((1, 1024), (2, 2048))),
    (L8, BF16, rows((1, 2048))),
    (Q8, {}, rows((2, 2048), (1, 4096))),
    (GEMMA, {}, rows((1, 2048), (2, 2048))),
    (Q14, {}, rows((2, 2048), (1, 8192))),
    (Q14, {"lora.r": 64, "train.offload_layers": 32}, rows((1, 2048))),
    (Q32, {}, rows((1, 2048), (2, 4096))),
    (Q32, {"train.offload_layers": 48}, rows((1, 2048))),
)


class NotMade(Exception):
    """A random-weight model could not be made."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="only loads that say one of these, as they print")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--out", type=Path)
    options.add_argument("--load", type=int, help="measure this one load, in this process")
    args = options.parse_args()
    if args.load is not None:
        model, changes, cases = LOADS[args.load]
        measure(model, changes, cases, args.models)
        return
    write(json.dumps({"about": about()}) + "\n", args.out)
    numbers = [number for number, load in enumerate(LOADS) if any(text in f"{load[0]} {load[1]}" for text in args.only)]
    with ThreadPoolExecutor(4) as pool:
        needed = dict.fromkeys(LOADS[number][0] for number in numbers)
        list(pool.map(lambda model: build(model, args.models, model in STORED_NF4), needed))
    with ThreadPoolExecutor(args.at_once) as pool:
        for job in as_completed(pool.submit(in_own_process, number, args.models) for number in numbers):
            write(job.result(), args.out)


def write(lines: str, out: Path | None) -> None:
    """Lines to the terminal, and to the file if there is one."""
    print(lines, end="", flush=True)
    if out:
        with out.open("a") as file:
            file.write(lines)


def about() -> dict[str, Any]:
    """What the rows were measured on."""
    found = detect()
    card = found.gpus[0].name if found.gpus else None
    date, chunk = time.strftime("%Y-%m-%d"), CHUNK_TARGET_CAP / GIB
    return {"card": card, "driver": found.driver_version, **found.versions, "date": date, "loss_chunk_gib": chunk}


def folder_of(model: str, models: Path) -> Path:
    """Where the random-weight model of that shape is."""
    return models / model.rpartition("/")[2]


def build(model: str, models: Path, nf4: bool) -> None:
    """Have a random-weight model of that shape, whole or not at all: made aside, in a process that leaves the card.

    Raises NotMade."""
    folder = folder_of(model, models)
    if not folder.exists():
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        command = [sys.executable, str(Path(__file__).with_name("make_model.py")), model, str(aside)]
        code, _, told = ended([*command, *["--nf4"] * nf4], LOAD_LIMIT_S)
        if code:
            raise NotMade(f"{model} could not be made: {told}")
        aside.rename(folder)


def in_own_process(number: int, models: Path) -> str:
    """The lines of one load; a load that fails, or takes too long, says why after those of its cases that ran."""
    command = [sys.executable, __file__, str(models), "--load", str(number)]
    code, out, told = ended(command, LOAD_LIMIT_S)
    lines = "".join(line + "\n" for line in out.splitlines() if line.startswith('{"model"'))
    if code:
        model, changes, _ = LOADS[number]
        lines += json.dumps({"model": model, **changes, "failed": told}) + "\n"
    return lines


def ended(command: list[str], limit_s: float, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command to its end, or to its limit and end it with all that it started. Its status (not 0 then), its
    output, and what it said last of trouble."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    ) as process:
        try:
            out, told = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            return 1, out, f"took more than {limit_s:.0f} s"
    return process.returncode, out, told.strip()[-300:]


def recipe_of(model: str, changes: dict[str, Any]) -> Recipe:
    """The recipe of a case: fitune's defaults, one micro-batch a step, and the changes."""
    tree: dict[str, Any] = {"model": {"id": model}, "data": {"source": "-", "eval_fraction": 0, "packing": False}}
    sets = {"train.backend": "unsloth", "train.grad_accum": 1, "train.max_steps": STEPS, **changes}
    for key, value in sets.items():
        group, _, name = key.partition(".")
        tree.setdefault(group, {})[name] = value
    return parse(tree, "case")


def measure(model: str, changes: dict[str, Any], cases: list[dict[str, Any]], models: Path) -> None:
    """Load once, train each case for a few steps, print a line each. Bytes."""
    from fitune.core.worker.training import model_with_adapter

    longest = max(case.get("model.max_seq_length", 2048) for case in cases)
    loading = recipe_of(str(folder_of(model, models)), {**changes, "model.max_seq_length": longest})
    model_with_adapter.prepare(loading.train.backend)
    import torch

    from fitune.core.worker.models import ModelFiles

    gpu = own_gpu()
    loaded = model_with_adapter.load(loading, ModelFiles(folder_of(model, models), model, None))
    after_load = torch.cuda.memory_allocated()
    for case in cases:
        recipe = recipe_of(str(folder_of(model, models)), {**changes, **case})
        tokens_per_s, resident = train(recipe, loaded)
        reserved = torch.cuda.max_memory_reserved()
        context = booked_bytes(gpu.uuid) - torch.cuda.memory_reserved()
        line = {
            "model": model,
            **changes,
            **case,
            "after_load": after_load,
            "resident": resident,
            "allocated": torch.cuda.max_memory_allocated(),
            "reserved": reserved,
            "device": reserved + context,
            "tokens_per_s": tokens_per_s,
            "stored_nf4": model in STORED_NF4,
        }
        print(json.dumps(line), flush=True)


def own_gpu() -> Gpu:
    """The card that torch uses first, which CUDA_VISIBLE_DEVICES may have made another than the machine's first."""
    import torch

    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    return next(gpu for gpu in detect().gpus if gpu.uuid == uuid)


def booked_bytes(uuid: str) -> int:
    """What the driver books on this process: torch's memory and the CUDA context."""
    import pynvml

    pynvml.nvmlInit()
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByUUID(uuid.encode()))
    return next(int(each.usedGpuMemory) for each in processes if each.pid == os.getpid())


def train(recipe: Recipe, loaded: Any) -> tuple[int, int]:
    """A few steps on full-length rows. Returns tokens a second of the last step, and bytes held between steps."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from fitune.core.worker.training.trainer import trainer_config

    class Clock(TrainerCallback):
        began = seconds = 0.0
        held = 0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            self.began = time.monotonic()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            self.seconds, self.held = time.monotonic() - self.began, torch.cuda.memory_allocated()

    loaded.model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    length, clock = recipe.model.max_seq_length, Clock()
    rows_needed = (recipe.train.max_steps or STEPS) * recipe.train.micro_batch * recipe.train.grad_accum
    ids = torch.randint(4, 500, (rows_needed, length)).tolist()
    trainer = SFTTrainer(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=trainer_config(recipe, loaded.dtype, Path("/tmp/fitune-bench")),
        train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in ids]),
        callbacks=[clock],
    )
    trainer.train()
    tokens = recipe.train.micro_batch * recipe.train.grad_accum * length
    return round(tokens / clock.seconds), clock.held


if __name__ == "__main__":
    main()
