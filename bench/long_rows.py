"""Rows of 32k to 128k tokens: what a step takes of the card, against the budget, and how fast it is.

usage: python bench/long_rows.py MODELS_DIR [--only TEXT ...] [--at-once N] [--within-s S] [--tiny] [--out FILE]
Trains an 8B (Llama 3.1's shape, random weights, NF4, rank 16; few layers or all 32) by the worker's own functions. Each
load is a process of its own. After a step of two short rows, in which kernels are compiled, it takes one step a length:
a short row and a long one, so that the optimizer has its states, and gradients are there to be added to. Several loads
at once share the card, but long rows are taken by one at a time, so that their pace counts. A load that is not done in
time tells the memory that its running step has taken until then. Prints one JSON line a step, after one that names
card and versions. --tiny: on a processor, by trl.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Timer
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from fitune.core.machine import grows_in_place
from fitune.core.memory import Card, estimate, shapes
from fitune.core.recipe import Recipe

Load = tuple[int, tuple[int, ...], dict[str, Any]]
"""Layers, tokens of the long rows, the longest last, and what the recipe has beside fitune's defaults."""
TILED, AWAY = {"train.tiled_mlp": True}, {"train.offload_layers": 16}
LOADS: tuple[Load, ...] = (
    (32, (32_768, 131_072), {}),  # presets/8b-32k-on-24gb.toml and 8b-128k-on-48gb.toml
    (3, (131_072,), {}),
    (3, (131_072,), TILED),
    (3, (32_768, 65_536), {}),
    (3, (32_768, 65_536), TILED),
    (32, (32_768, 65_536), AWAY),
    (32, (32_768, 131_072), TILED),
)
TINY: tuple[Load, ...] = ((2, (256, 512), {}), (2, (512,), {}))
SHORT = 2048
LAST_WORDS_S = 4.0
"""Seconds before its end at which a load tells what it has got to."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="only loads that say one of these, as they print")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--within-s", type=float, default=86_400, help="seconds of all loads")
    options.add_argument("--tiny", action="store_true", help="two layers of SmolLM2 and short rows")
    options.add_argument("--out", type=Path)
    options.add_argument("--load", type=int, help="this one load, in this process")
    args = options.parse_args()
    loads, end = TINY if args.tiny else LOADS, time.monotonic() + args.within_s
    if args.load is not None:
        measure(loads[args.load], args.models, args.tiny, end)
        return
    args.models.mkdir(parents=True, exist_ok=True)
    vram.write(json.dumps({"about": vram.about(), "tiny": args.tiny}) + "\n", args.out)
    numbers = [number for number, load in enumerate(loads) if any(text in name_of(load) for text in args.only)]
    needed = sorted({loads[number][0] for number in numbers})
    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(needed, pool.map(lambda layers: make(layers, args.models, args.tiny), needed), strict=True))
    with ThreadPoolExecutor(args.at_once) as pool:
        jobs = [pool.submit(in_own_process, loads, number, args, end, made) for number in numbers]
        for job in as_completed(jobs):
            vram.write(job.result(), args.out)


def name_of(load: Load) -> str:
    layers, lengths, changes = load
    return f"{layers} layers, {lengths} tokens, {changes}"


def folder_of(layers: int, models: Path) -> Path:
    """Where the model of so many layers is."""
    return models / f"8B-{layers}-layers"


def make(layers: int, models: Path, tiny: bool) -> str:
    """Have a model of so many layers; what went wrong, else nothing."""
    folder = folder_of(layers, models)
    if folder.exists():
        return ""
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    model = vram.TINY if tiny else vram.L8
    script = str(Path(__file__).with_name("make_model.py"))
    code, _, told = vram.ended([sys.executable, script, model, str(aside), str(layers), *["--nf4"] * (not tiny)], 300)
    if code:
        return f"the model could not be made: {told}"
    aside.rename(folder)
    return ""


def in_own_process(
    loads: tuple[Load, ...], number: int, args: argparse.Namespace, end: float, made: dict[int, str]
) -> str:
    """The lines of a load; of one that failed, those that it got to, and why."""
    layers, lengths, changes = loads[number]
    left_s, failed, lines = end - time.monotonic(), made[layers], list[str]()
    if not failed and left_s < 0:
        failed = "not begun: no time was left"
    if not failed:
        command = [sys.executable, __file__, str(args.models), "--load", str(number), *["--tiny"] * args.tiny]
        with tempfile.TemporaryDirectory() as home:
            env = {**os.environ, "UNSLOTH_COMPILE_LOCATION": f"{home}/unsloth"}
            code, out, told = vram.ended([*command, "--within-s", str(left_s - LAST_WORDS_S)], left_s, env)
        lines, failed = [line for line in out.splitlines() if line.startswith('{"layers"')], told if code else ""
    if failed:
        lines.append(json.dumps({"layers": layers, "lengths": lengths, **changes, "failed": failed}))
    return "".join(line + "\n" for line in lines)


def recipe_of(load: Load, models: Path, tiny: bool) -> Recipe:
    """The recipe of a load: two rows a step, one after the other."""
    layers, lengths, changes = load
    here = {"train.backend": "trl", "model.quant": "bf16", "train.checkpointing": "on"} if tiny else {}
    sets = {"train.micro_batch": 1, "train.grad_accum": 2, "model.max_seq_length": lengths[-1]}
    return vram.recipe_of(
        str(folder_of(layers, models)), {**sets, "train.max_steps": 1 + len(lengths), **here, **changes}
    )


def measure(load: Load, models: Path, tiny: bool, end: float) -> None:
    """Load, take the steps, and print a line each. Bytes, and seconds."""
    from fitune.core.worker.training import model_with_adapter

    began, (layers, lengths, changes) = time.monotonic(), load
    recipe = recipe_of(load, models, tiny)
    model_with_adapter.prepare(recipe.train.backend, recipe.model)
    import torch

    from fitune.core.worker.models import ModelFiles

    kernel = model_with_adapter.attention_kernel(recipe.train.backend)
    gpu = vram.own_gpu() if torch.cuda.is_available() else None
    card = (gpu and Card(gpu.total_bytes or 0, gpu.free_bytes or 0, gpu.compute_capability, grows_in_place())) or None
    folder = folder_of(layers, models)
    budgets = [estimate(shapes.load(str(folder)), recipe, card, length, length) for length in lengths]
    loaded = model_with_adapter.load(recipe, ModelFiles(folder, folder.name, None))
    load_s = time.monotonic() - began

    def tell(number: int, seconds: dict[str, float]) -> None:
        """The line of the step with that long row."""
        budget = budgets[number]
        row = {"layers": layers, "length": lengths[number], **changes, "kernel": kernel, "load_s": load_s, **seconds}
        row |= {"budget_bytes": budget.total_bytes, "moment": budget.moment, "low_bytes": budget.low_bytes}
        row |= {"high_bytes": budget.high_bytes, "host_bytes": budget.host_bytes}
        if gpu:
            reserved = torch.cuda.max_memory_reserved()
            row |= {"allocated": torch.cuda.max_memory_allocated(), "reserved": reserved}
            row["device"] = reserved + vram.booked_bytes(gpu.uuid) - torch.cuda.memory_reserved()
        row["parts"] = {part.name: part.bytes for part in budget.parts}
        print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()}))
        sys.stdout.flush()

    train(recipe, loaded, lengths, tell, end)


def train(
    recipe: Recipe, loaded: Any, lengths: tuple[int, ...], tell: Callable[[int, dict[str, float]], None], end: float
) -> None:
    """The steps, as a training takes them; tells each that has a long row, or at the end the one that is running."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from fitune.core.worker.training.trainer import CpuTrainer, trainer_config
    from fitune.core.worker.training.varlen_attention import allow_cudnn

    on_card = torch.cuda.is_available()
    lock = Path(tempfile.gettempdir()) / f"fitune-long-{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}.lock"
    short = min(SHORT, lengths[0] // 2)

    class Turns(TrainerCallback):
        began = first_s = 0.0
        turn: Any = None

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step:
                self.turn = lock.open("w")
                fcntl.flock(self.turn, fcntl.LOCK_EX)
                if on_card:
                    torch.cuda.reset_peak_memory_stats()
                last_words = Timer(max(0.0, end - time.monotonic()), self.tell, [state.global_step - 1, "unfinished_s"])
                last_words.daemon = True
                self.last_words = last_words
                last_words.start()
            self.began = now()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seconds = now() - self.began
            if state.global_step == 1:
                self.first_s = seconds
                return
            self.last_words.cancel()
            self.tell(state.global_step - 2, "step_s")
            self.turn.close()

        def tell(self, number: int, name: str) -> None:
            seconds = time.monotonic() - self.began
            pace = {"tokens_per_s": (short + lengths[number]) // seconds} if name == "step_s" else {}
            tell(number, {"first_step_s": self.first_s, name: seconds, **pace})

    def now() -> float:
        if on_card:
            torch.cuda.synchronize()
        return time.monotonic()

    sizes = [short, short] + [size for length in lengths for size in (short, length)]
    rows = [{"input_ids": ids, "labels": ids} for ids in (torch.randint(4, 500, (each,)).tolist() for each in sizes)]
    allow_cudnn(rows)
    args = trainer_config(recipe, loaded.dtype, Path(tempfile.gettempdir()) / "fitune-long-rows")
    args.train_sampling_strategy = "sequential"
    trainer = (SFTTrainer if on_card else CpuTrainer)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=args,
        train_dataset=Dataset.from_list(rows),
        callbacks=[Turns()],
    )
    trainer.train()


if __name__ == "__main__":
    main()
