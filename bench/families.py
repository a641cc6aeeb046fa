"""What training really holds on a card in today's families: few layers at real widths, by the worker's own functions.

usage: python bench/families.py MODELS_DIR [--only TEXT ...] [--at-once N] [--limit-s SECONDS] [--out FILE.jsonl]
                                 [--logs FOLDER]
Builds each model in MODELS_DIR, and removes it after its last load. A load is a process of its own, which runs its
cases in turn and writes each as it ends: one JSON line, in bytes. A load that fails, or takes longer than the limit,
has a line that says so; what its process said is in its file of --logs. `bench/score_budget.py` compares the rows with
the budget. Several at once share the card: their memory counts, their pace does not.
"""

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.family_models import Shelf, ended
from bench.vram import rows
from fitune.core import runs
from fitune.core.recipe import Recipe

FIRST_STEPS = 6
"""Steps of a load's first case; the others take those of vram.py."""
SHORT_ROWS = (100, 300)
"""Tokens of the rows that are packed."""
OFF = {"train.checkpointing": "off"}
FULL = rows((2, 1024), (1, 4096)) + rows((4, 2048), **{"train.grad_accum": 2})
PACKED = rows((4, 2048), **{"data.packing": True})
LITTLE = rows((1, 512), (2, 512), **{"train.grad_accum": 2})
"""Without its own kernels a Mamba layer holds 20 MB for each token (core/memory/shapes/layers.py)."""
KEPT = rows((1, 512), (2, 1024), (1, 2048))


class Load(NamedTuple):
    """A model as one process loads it, and what it trains then: the larger later, as Unsloth's buffers stay."""

    model: str
    changes: dict[str, Any]
    cases: list[dict[str, Any]]


def unsloth(model: str, *cases: list[dict[str, Any]], **changes: Any) -> Load:
    return Load(model, {"train.backend": "unsloth", **changes}, [each for case in cases for each in case])


def trl(model: str, *cases: list[dict[str, Any]], **changes: Any) -> Load:
    """A load by TRL, whose checkpoints can be switched off: the cases that are so come last."""
    found = [{"train.checkpointing": "on", **each} for case in cases for each in case]
    return Load(model, {"train.backend": "trl", **changes}, found)


KEPT_TOO = [{**each, **OFF} for each in rows((1, 512), (2, 1024))]
LOADS = (
    unsloth("run-gpt-oss-20b-nf4-4l", FULL),
    unsloth("run-ministral-3-8b-8l", FULL, PACKED),
    trl("run-ministral-3-8b-8l", FULL, KEPT_TOO),
    unsloth("run-granite-4-micro-8l", FULL, PACKED),
    trl("run-granite-4-micro-8l", FULL, KEPT_TOO),
    trl("run-gemma-4-e4b-12l", FULL, KEPT_TOO),
    unsloth("gemma-3-1b", FULL, PACKED),
    trl("gemma-3-1b", FULL, KEPT_TOO),
    trl("qwen3.5-9b-4l", FULL, KEPT_TOO),
    unsloth("qwen3-vl-4b-8l", FULL, PACKED),
    trl("qwen3-vl-4b-8l", FULL, KEPT_TOO),
    unsloth("qwen3-30b-a3b-4l", FULL),
    trl("qwen3-30b-a3b-4l", FULL, KEPT_TOO),
    unsloth("phi-4-mini-8l", FULL, PACKED),
    trl("phi-4-mini-8l", FULL, KEPT_TOO),
    unsloth("lfm2.5-1.2b", FULL),
    trl("lfm2.5-1.2b", FULL, KEPT_TOO),
    trl("qwen3.5-35b-a3b-2l", FULL, KEPT_TOO),
    unsloth("olmo-3-7b-8l", FULL[:1]),
    unsloth("olmo-3-7b-8l", FULL[2:]),  # each first, since the trial of a padded head comes with the first
    trl("olmo-3-7b-8l", FULL, KEPT_TOO),
    unsloth("smollm3-3b-18l", FULL, PACKED),
    trl("smollm3-3b-18l", FULL, KEPT_TOO),
    unsloth("granite-4-h-tiny-6l", LITTLE),
    trl("granite-4-h-tiny-6l", LITTLE),
    unsloth("gemma-3-4b-8l", FULL),
    trl("gemma-3-4b-8l", FULL, KEPT_TOO),
    unsloth("glm-4-9b-4l", FULL, PACKED),
    trl("glm-4-9b-4l", FULL, KEPT_TOO),
    unsloth("command-r7b-4l", FULL, PACKED),
    trl("command-r7b-4l", FULL, KEPT_TOO),
    unsloth("muse-glimmer-30b-2l", FULL),
    trl("muse-glimmer-30b-2l", FULL, KEPT_TOO),
    trl("lfm2-8b-a1b-6l", FULL, KEPT_TOO),
    unsloth("llama-3.1-8b-4l", FULL, PACKED),
    trl("llama-3.1-8b-4l", FULL, KEPT_TOO),
    unsloth("gemma-2-9b-4l", FULL),
    trl("gemma-2-9b-4l", FULL, KEPT_TOO),
    unsloth("qwen2.5-vl-7b-4l", FULL),
    trl("qwen2.5-vl-7b-4l", FULL, KEPT_TOO),
    unsloth("mistral-nemo-4l", FULL),
    trl("mistral-nemo-4l", FULL, KEPT_TOO),
    trl("granite-4-h-micro-6l", LITTLE),
    unsloth("run-granite-4-micro-8l", KEPT, **OFF),
    unsloth("run-ministral-3-8b-8l", KEPT, **OFF),
    unsloth("run-ministral-3-8b-8l", FULL, **vram.BF16),
    trl("qwen3.5-9b-4l", FULL, **vram.BF16),
    unsloth("phi-4-mini-8l", KEPT, **OFF),
)
"""The most wanted first."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="only loads that say one of these, as they print")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--limit-s", type=float, default=900, help="after so long a load is given up")
    options.add_argument("--out", type=Path, default=Path("families.jsonl"))
    options.add_argument("--logs", type=Path, default=Path("logs"))
    options.add_argument("--load", type=int, help="measure this one load, in this process")
    args = options.parse_args()
    if args.load is not None:
        measure(LOADS[args.load], args.models, args.out)
        return
    args.models.mkdir(parents=True, exist_ok=True)
    args.logs.mkdir(parents=True, exist_ok=True)
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    numbers = [number for number, load in enumerate(LOADS) if any(text in named(load) for text in args.only)]
    shelf = Shelf(args.models, args.logs, [LOADS[number].model for number in numbers])
    with ThreadPoolExecutor(args.at_once) as pool:
        list(pool.map(lambda number: in_own_process(number, shelf, args), numbers))


def named(load: Load) -> str:
    """A load as it prints."""
    return f"{load.model} {load.changes}"


def in_own_process(number: int, shelf: Shelf, args: argparse.Namespace) -> None:
    """Run a load, and write a line if it fails."""
    load, began = LOADS[number], time.monotonic()
    told = shelf.make(load.model, args.limit_s)
    if not told:
        command = [sys.executable, "-P", __file__, str(args.models), "--load", str(number), "--out", str(args.out)]
        log = args.logs / f"{number:02}-{load.model}-{load.changes['train.backend']}.txt"
        own = {"UNSLOTH_COMPILE_LOCATION": str(args.models / f"cache-{number}")}  # no load waits for another's lock
        told = ended(command, args.limit_s, log, {**os.environ, "UNSLOTH_MEGA_CACHE": "0", **own})
    shelf.done(load.model)
    line = {"load": load.model, **load.changes, "failed": told or None, "s": round(time.monotonic() - began)}
    vram.write(json.dumps(line) + "\n", args.out)


def measure(load: Load, models: Path, out: Path) -> None:
    """Load once, train each case for a few steps, write a line each. Bytes."""
    from fitune.core.worker.training import model_with_adapter

    folder = models / load.model
    longest = max(case["model.max_seq_length"] for case in load.cases)
    recipe = vram.recipe_of(str(folder), {**load.changes, **load.cases[0], "model.max_seq_length": longest})
    model_with_adapter.prepare(recipe.train.backend, recipe.model)
    kernel = model_with_adapter.attention_kernel(recipe.train.backend)
    import torch

    from fitune.core.worker.models import ModelFiles

    loaded = model_with_adapter.load(recipe, ModelFiles(folder, load.model, None))
    after_load = torch.cuda.memory_allocated()
    for number, case in enumerate(load.cases):
        steps = {"train.max_steps": FIRST_STEPS} if number == 0 else {}
        recipe = vram.recipe_of(str(folder), {**load.changes, **case, **steps})
        if recipe.train.backend == "trl" and recipe.train.checkpointing == "off":
            loaded.model.gradient_checkpointing_disable()
            loaded.model.disable_input_require_grads()
        try:
            found = train(recipe, loaded, kernel)
        except (torch.OutOfMemoryError, RuntimeError, ValueError) as error:
            found = {
                "failed": f"{type(error).__name__}: {error}"[:300]
            }  # the other cases are worth having all the same
        line = {"model": load.model, **load.changes, **case, "after_load": after_load, **found}
        vram.write(json.dumps(line) + "\n", out)


def train(recipe: Recipe, loaded: Any, kernel: Any) -> dict[str, Any]:
    """Train full-length rows, or packed short ones, as a run does. What was free, and what it took: peaks in bytes,
    seconds of each step, the losses."""
    import torch
    from transformers import TrainerCallback

    from fitune.core.runs import EventLog
    from fitune.core.worker.rows.training_rows import TrainingRows
    from fitune.core.worker.training.trainer import make_trainer

    class Watch(TrainerCallback):
        """A run's reporter, as far as the trainer asks it."""

        held_out = None

        def __init__(self, log: EventLog) -> None:
            self.log = log
            self.began, self.step_s, self.losses = 0.0, list[float](), list[float]()

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.monotonic()

        def on_log(self, *_: Any, logs: dict[str, Any] | None = None, **__: Any) -> None:
            if logs and "loss" in logs:  # which the trainer has just read from the card
                self.step_s.append(round(time.monotonic() - self.began, 1))
                self.losses.append(round(float(logs["loss"]), 3))

    loaded.model.zero_grad(set_to_none=True)
    gc.collect()
    free = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        free, _ = torch.cuda.mem_get_info()
    with tempfile.TemporaryDirectory() as home:
        run = runs.create(recipe, Path(home))
        watch = Watch(EventLog(run.events, "train"))
        made = TrainingRows(list(random_rows(recipe)), [], [], set())
        trainer = make_trainer(run, recipe, loaded, made, watch, kernel)
        trainer.train()
        flat = bool(getattr(trainer.data_collator, "padding_free", False))
        packed = bool(trainer.args.packing)
    return {
        "free": free,
        **held(),
        "packed": packed,
        "padding_free": flat,
        "step_s": watch.step_s,
        "losses": watch.losses,
    }


def random_rows(recipe: Recipe) -> Iterator[dict[str, list[int]]]:
    """Rows for all steps: of full length, or so many short ones that they fill as much."""
    train, length, made = recipe.train, recipe.model.max_seq_length, random.Random(0)
    wanted = (train.max_steps or 1) * train.micro_batch * train.grad_accum * length
    while wanted > 0:
        tokens = made.randint(*SHORT_ROWS) if recipe.data.packing else length
        ids = [made.randrange(20, 250) for _ in range(tokens)]
        wanted -= tokens
        yield {"input_ids": ids, "labels": list(ids)}


def held() -> dict[str, Any]:
    """Torch's peaks, and what the driver booked on this process then; null where it does not tell."""
    import torch

    if not torch.cuda.is_available():
        return dict.fromkeys(("allocated", "reserved", "device"))
    reserved = torch.cuda.max_memory_reserved()
    try:
        card = torch.cuda.get_device_properties(0)
        context = vram.booked_bytes(f"GPU-{card.uuid}") - torch.cuda.memory_reserved()
    except StopIteration:  # a container hides the processes
        context = None
    return {
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": reserved,
        "device": None if context is None else reserved + context,
    }


if __name__ == "__main__":
    main()
