"""Seconds of a step in many short trainings, by fitune's own functions: they score the pace model.

usage: python bench/pace_truth.py MODELS_DIR LENGTHS [--only TEXT ...] [--limit SECONDS] [--wait] [--out FILE.jsonl]
LENGTHS: a file with the tokens of a real row on each line. Builds the models it needs in MODELS_DIR. Each load of a
model is a process of its own; all import and load at once, and each training has the card to itself. Prints one JSON
line a training as soon as it ends, after one that names card and versions; tests/core/forecast/test_pace.py scores such
lines.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram

WARM = 3
"""Steps that do not count, as kernels are compiled in them."""
STEPS, ENOUGH_STEPS, ENOUGH_S = 20, 3, 1.2
"""Most steps of a training; after so many that count it ends once they took so long."""
LAST_TRAINING_S, MODEL_LIMIT_S = 15.0, 120.0
"""Seconds that the last training gets beyond the limit, and that are waited for a model."""
GEMMA = "google/gemma-3-1b-it"
TRAINING = {"train.optimizer": "adamw_torch_fused", "train.lr": 1e-9}
COMPILE_OFF = {"UNSLOTH_COMPILE_DISABLE": "1"}
"""What keeps Unsloth from compiling anything."""


class Split(NamedTuple):
    """The rows of a training and their split into micro-batches."""

    lengths: str
    micro_batch: int
    grad_accum: int = 1
    packed: bool = False
    max_seq_length: int = 2048
    micro_tokens: int | None = None


class Load(NamedTuple):
    """A model as a process loads it, and its trainings: (share of the layers that are not recomputed, splits)."""

    model: str
    quant: str
    backend: str
    trainings: tuple[tuple[float, tuple[Split, ...]], ...]
    compiled: bool = True


REAL, REAL_32, SHORT_32 = Split("real", 8), Split("real", 32), Split("short", 32)
MIDDLE, MIDDLE_4X2 = Split("middle", 2), Split("middle", 4, 2)
FULL, PACKED = Split("full", 2), Split("real", 2, 2, packed=True)
MIX_4X2, MIX_8K = Split("mix", 4, 2, max_seq_length=8192), Split("mix", 8, max_seq_length=8192, micro_tokens=8192)
MIX_PACKED = Split("mix", 1, 2, packed=True, max_seq_length=8192)
NONE, ALL = 0.0, 1.0
LOADS = (
    Load(vram.L8, "nf4", "unsloth", (
        (NONE, (REAL, FULL)),
        *((share, (REAL,)) for share in (1 / 4, 1 / 2, 3 / 4)),
        (ALL, (REAL, MIDDLE_4X2, FULL, PACKED, REAL_32)),
    )),
    Load(vram.L8, "nf4", "unsloth", (
        (NONE, (MIX_4X2, MIX_8K, MIX_PACKED)), (1 / 2, (MIX_8K,)), (ALL, (MIX_8K,)),
    )),
    Load(vram.L8, "nf4", "unsloth", ((ALL, (REAL,)),), compiled=False),
    Load(vram.L8, "bf16", "unsloth", ((NONE, (REAL,)), (ALL, (REAL, MIDDLE_4X2, FULL, PACKED)))),
    Load(vram.L8, "nf4", "trl", ((NONE, (REAL,)), (ALL, (REAL, MIDDLE, FULL)))),
    Load(vram.L3, "nf4", "unsloth", ((NONE, (REAL,)), (ALL, (REAL, MIDDLE_4X2, FULL)))),
    Load(vram.Q14, "nf4", "unsloth", ((ALL, (REAL, MIDDLE)),)),
    Load(vram.TINY, "nf4", "unsloth", ((NONE, (REAL,)), (ALL, (REAL, SHORT_32)))),
    Load(GEMMA, "nf4", "unsloth", ((NONE, (REAL,)),)),
    Load(GEMMA, "nf4", "unsloth", ((NONE, (REAL,)),), compiled=False),
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("lengths", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="only loads that say one of these")
    options.add_argument("--limit", type=float, default=3600, help="seconds after which no training begins")
    options.add_argument("--wait", action="store_true", help="another program is making the models: wait for them")
    options.add_argument("--out", type=Path)
    options.add_argument("--load", type=int, help="measure this one load, in this process")
    args = options.parse_args()
    if args.load is not None:
        measure(args, LOADS[args.load], time.monotonic() + args.limit)
        return
    began = time.monotonic()
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    chosen = [number for number, load in enumerate(LOADS) if any(text in str(load) for text in args.only)]
    for number in chosen if not args.wait else ():
        vram.build(LOADS[number].model, folder_of_models(args.models, LOADS[number]), LOADS[number].quant == "nf4")
    processes = {number: start(number, args, began) for number in chosen}
    for number, process in processes.items():
        try:
            code = process.wait(max(1.0, began + args.limit + LAST_TRAINING_S - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            vram.write(json.dumps({"training": LOADS[number].model, "load": number, "failed": code}) + "\n", args.out)


def folder_of_models(models: Path, load: Load) -> Path:
    """Models whose files are 16-bit and those stored in 4 bits have the same names."""
    return models / ("nf4" if load.quant == "nf4" else "bf16")


def start(number: int, args: argparse.Namespace, began: float) -> "subprocess.Popen[bytes]":
    """Start the process of a load, which writes its lines itself; the rest of what it says goes to a log."""
    left_s = max(0.0, args.limit + began - time.monotonic())
    command = [sys.executable, __file__, str(args.models), str(args.lengths), "--load", str(number)]
    command += ["--limit", f"{left_s:.0f}", *(["--out", str(args.out)] if args.out else [])]
    own_cache = {"UNSLOTH_COMPILE_LOCATION": str(args.models / f"cache-{number}")}  # no load waits for another's lock
    env = {**os.environ, **own_cache, **({} if LOADS[number].compiled else COMPILE_OFF)}
    args.models.mkdir(parents=True, exist_ok=True)
    with (args.models / f"load-{number}.log").open("w") as log:
        return subprocess.Popen(command, stderr=log, env=env)


@contextmanager
def card_to_itself(models: Path) -> Iterator[None]:
    """Wait until no other process trains, and keep them waiting."""
    with (models / "card.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


def loaded_model(args: argparse.Namespace, load: Load) -> tuple[Path, Any, dict[str, float]]:
    """The folder of a model, the model as the worker loads it, and the seconds that this took."""
    from fitune.core.worker.training import model_with_adapter

    began = time.monotonic()
    folder = vram.folder_of(load.model, folder_of_models(args.models, load))
    changes = {"train.backend": load.backend, "train.checkpointing": checkpointing_of(load)}
    model_with_adapter.prepare(load.backend)
    import trl.trainer.sft_trainer  # noqa: F401  # the worker's imports

    from fitune.core.worker.models import ModelFiles

    imported = time.monotonic()
    print(f"imported in {imported - began:.1f} s", file=sys.stderr, flush=True)
    while not folder.is_dir() and time.monotonic() - imported < MODEL_LIMIT_S:
        time.sleep(0.5)
    began_load = time.monotonic()
    loading = vram.recipe_of(str(folder), {**changes, "model.quant": load.quant, "model.max_seq_length": 8192})
    model_with_adapter.attention_kernel(load.backend)
    loaded = model_with_adapter.load(loading, ModelFiles(folder, load.model, None))
    times = {"import_s": round(imported - began, 1), "load_s": round(time.monotonic() - began_load, 1)}
    print(f"loaded: {times}", file=sys.stderr, flush=True)
    return folder, loaded, times


def checkpointing_of(load: Load) -> str:
    return "unsloth" if load.backend == "unsloth" else "on"


def measure(args: argparse.Namespace, load: Load, until: float) -> None:
    """Load a model and train it in each manner until it is late; writes a line each."""
    real_lengths = [int(line) for line in args.lengths.read_text().split()]
    folder, loaded, times = loaded_model(args, load)
    layers = loaded.model.config.num_hidden_layers
    for kept, splits in load.trainings:
        skipped = round(kept * layers)
        if skipped and load.backend == "unsloth":
            from unsloth.models._utils import skip_checkpointing

            skip_checkpointing(loaded.model, skipped)
        elif skipped:
            loaded.model.base_model.model.gradient_checkpointing_disable()
        line = {
            "training": load.model, "quant": load.quant, "backend": load.backend, "compiled": load.compiled,
            "checkpointing": "off" if kept == ALL else checkpointing_of(load),
            "checkpoint_skip_layers": 0 if kept == ALL else skipped,
        }  # fmt: skip
        for split in splits:
            dice = random.Random(str(split._replace(micro_tokens=None)))
            rows_needed = STEPS * split.micro_batch * split.grad_accum * (8 if split.packed else 1)
            rows = [row(split.lengths, dice, real_lengths) for _ in range(rows_needed)]
            try:
                found = train(args.models, str(folder), loaded, load.backend, split, rows, until)
            except Exception as error:  # one manner that fails is a finding, and the others go on
                traceback.print_exc()
                found = {"failed": f"{type(error).__name__}: {error}"[:200]}
            vram.write(json.dumps({**line, **split._asdict(), **found, **times}) + "\n", args.out)


def memory_of_card() -> int:
    """The most that torch has held of the card since the count began, in bytes; 0 without one."""
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


def row(kind: str, dice: random.Random, real_lengths: list[int]) -> dict[str, list[int]]:
    """A row of that kind with random tokens, whose second half is trained on."""
    lengths = {
        "real": dice.choice(real_lengths),
        "short": dice.randint(30, 90),
        "middle": min(2048, max(40, int(dice.lognormvariate(6.3, 0.7)))),
        "full": 2048,
        "mix": int(100 * 80 ** dice.random()),
    }
    length = lengths[kind]
    ids = [dice.randrange(4, 40_000) for _ in range(length)]
    return {"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]}


def train(
    models: Path, model: str, loaded: Any, backend: str, split: Split, rows: list[dict[str, list[int]]], until: float
) -> dict[str, Any]:
    """A short training: seconds of its first and of a later step, tokens of its micro-batches, peak memory.

    Raises TimeoutError if it had to begin after `until`.
    """
    import torch
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from fitune.core.worker.rows.micro_batches import split_steps
    from fitune.core.worker.training import packing
    from fitune.core.worker.training.callbacks import tokens_of
    from fitune.core.worker.training.trainer import CpuTrainer, trainer_config
    from fitune.core.worker.training.varlen_attention import allow_cudnn

    def wait_for_card() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    ends: list[float] = []
    tokens: list[Any] = []
    counts: list[int] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            wait_for_card()
            ends.append(time.perf_counter())

        def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
            wait_for_card()
            ends.append(time.perf_counter())
            counts.append(len(tokens))
            if len(ends) > WARM + ENOUGH_STEPS and ends[-1] - ends[WARM] > ENOUGH_S:
                control.should_training_stop = True

        def on_log(self, *_: Any, logs: dict[str, Any] | None = None, **__: Any) -> None:
            if logs and "loss" in logs:
                losses.append(round(float(logs["loss"]), 4))

    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        tokens.append(tokens_of(inputs))
        return step(model, inputs, *rest, **named)

    sizes = {"train.micro_batch": split.micro_batch, "train.grad_accum": split.grad_accum, "train.max_steps": STEPS}
    where = {"train.backend": backend, "train.checkpointing": "on", "model.max_seq_length": split.max_seq_length}
    recipe = vram.recipe_of(model, {**TRAINING, **sizes, **where})
    train_set, _ = packing.to_sets(rows, [], split.max_seq_length, split.packed)
    allow_cudnn(rows)
    trainer = (SFTTrainer if torch.cuda.is_available() else CpuTrainer)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=trainer_config(recipe, loaded.dtype, Path("/tmp/fitune-bench"), split.packed),
        train_dataset=train_set,
        callbacks=[Clock()],
    )
    if backend == "unsloth":
        packing.pad_flat_batches(trainer, loaded.model.config.model_type)
    step, trainer.training_step = trainer.training_step, counted
    if split.micro_tokens:
        split_steps(trainer, split.micro_tokens)
    with card_to_itself(models):
        if time.monotonic() > until:
            raise TimeoutError("no time left")
        began = time.monotonic()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
        whole_s, peak_bytes = time.monotonic() - began, memory_of_card()
        loaded.model.zero_grad(set_to_none=True)
        trainer.optimizer = None
        torch.cuda.empty_cache()
    seconds = [end - began for began, end in pairwise(ends[WARM:])]
    steps, micro = len(seconds), list(map(int, tokens[counts[WARM - 1] :]))
    return {
        "first_step_s": round(ends[1] - ends[0], 3),
        "step_s": round(fmean(seconds), 4),
        "median_step_s": round(median(seconds), 4),
        "steps": steps,
        "tokens_a_micro": round(fmean(micro), 1),
        "micros_a_step": round(len(micro) / steps, 2),
        "largest_micro": max(map(int, tokens)),
        "useful_tokens_per_s": round(sum(micro) / sum(seconds)),
        "whole_s": round(whole_s, 1),
        "peak_reserved": peak_bytes,
        "losses": losses[:3],
    }


if __name__ == "__main__":
    main()
