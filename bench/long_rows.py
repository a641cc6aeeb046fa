"""Rows of 32k to 128k tokens: what a step takes of the card, against the budget, and how fast it is.

usage: python bench/long_rows.py MODELS_DIR [--only TEXT ...] [--at-once N] [--within-s S] [--tiny] [--out FILE]
Trains an 8B (Llama 3.1's shape, random weights, NF4, rank 16; few layers or all 32) by the worker's own functions: two
steps of two rows, the last of which is a long one, since kernels are compiled then, the optimizer has its states, and
gradients are there to be added to; with whole MLPs and with train.tiled_mlp. Each case is a process of its own. Several
at once share the card, but long rows are taken by one at a time, so that their pace counts. A case for which the
seconds are not enough is not begun. Prints one JSON line a case as soon as it ends, after one that names card and
versions. --tiny: on a processor, by trl.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from fitune.core.machine import grows_in_place
from fitune.core.memory import Card, estimate, shapes
from fitune.core.recipe import Recipe

Case = tuple[int, int, dict[str, Any]]
"""Layers, tokens of the long row, and what the recipe has beside fitune's defaults."""
TILED, AWAY = {"train.tiled_mlp": True}, {"train.offload_layers": 16}
CASES: tuple[Case, ...] = (
    (8, 131_072, {}),
    (32, 131_072, {}),  # presets/8b-128k-on-48gb.toml
    (8, 131_072, TILED),
    (32, 32_768, {}),  # presets/8b-32k-on-24gb.toml
    (32, 32_768, TILED),
    (8, 65_536, {}),
    (8, 65_536, TILED),
    (32, 32_768, AWAY),
    (32, 65_536, {}),
    (32, 131_072, TILED),
)
TINY: tuple[Case, ...] = ((2, 256, {}), (2, 512, {}))
SHORT = 2048
LAYER_WEIGHTS, ATTENTION_WIDTH = 218e6, 4096
USEFUL_FLOPS = 350e12
"""An H200's in bf16 in such a step, roughly: it only decides which cases are begun."""
START_S = 75.0
"""Seconds until the long row: imports, load, the first kernels."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("--only", nargs="*", default=[""], help="only cases that say one of these, as they print")
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--within-s", type=float, default=86_400, help="seconds of all cases")
    options.add_argument("--tiny", action="store_true", help="two layers of SmolLM2 and short rows")
    options.add_argument("--out", type=Path)
    options.add_argument("--case", type=int, help="this one case, in this process")
    args = options.parse_args()
    cases = TINY if args.tiny else CASES
    if args.case is not None:
        print(json.dumps(measured(cases[args.case], args.models, args.tiny)), flush=True)
        return
    end = time.monotonic() + args.within_s
    args.models.mkdir(parents=True, exist_ok=True)
    vram.write(json.dumps({"about": vram.about(), "tiny": args.tiny}) + "\n", args.out)
    numbers = [number for number, case in enumerate(cases) if any(text in name_of(case) for text in args.only)]
    needed = sorted({cases[number][0] for number in numbers})
    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(needed, pool.map(lambda layers: make(layers, args.models, args.tiny), needed), strict=True))
    with ThreadPoolExecutor(args.at_once) as pool:
        jobs = [pool.submit(in_own_process, cases, number, args, end, made) for number in numbers]
        for job in as_completed(jobs):
            vram.write(json.dumps(job.result()) + "\n", args.out)


def name_of(case: Case) -> str:
    layers, length, changes = case
    return f"{layers} layers, {length} tokens, {changes}"


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


def expected_s(case: Case) -> float:
    """Seconds of the long row: the matrices forwards, again, and backwards without gradients of their own, and the half
    of the attention that looks back, whose backward pass is 2.5 times its forward one."""
    layers, length, changes = case
    matrices = (8.0 if changes.get("train.tiled_mlp") else 6.0) * LAYER_WEIGHTS * layers * length
    attention = 4.5 * 2 * ATTENTION_WIDTH * layers * length**2
    return (matrices + attention) / USEFUL_FLOPS


def in_own_process(
    cases: tuple[Case, ...], number: int, args: argparse.Namespace, end: float, made: dict[int, str]
) -> dict[str, Any]:
    """The line of a case; of one that failed, why."""
    layers, length, changes = case = cases[number]
    row = {"layers": layers, "length": length, **changes}
    left_s, wanted_s = end - time.monotonic(), expected_s(case)
    if made[layers]:
        return row | {"failed": made[layers]}
    if left_s < (0 if args.tiny else START_S) + wanted_s:
        return row | {"failed": f"not begun: {left_s:.0f} s were left, and its long row takes about {wanted_s:.0f} s"}
    command = [sys.executable, __file__, str(args.models), "--case", str(number), *["--tiny"] * args.tiny]
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "UNSLOTH_COMPILE_LOCATION": f"{home}/unsloth"}
        code, out, told = vram.ended(command, left_s, env)
    lines = [line for line in out.splitlines() if line.startswith('{"layers"')]
    return json.loads(lines[-1]) if lines and not code else row | {"failed": told}


def recipe_of(case: Case, models: Path, tiny: bool) -> Recipe:
    """The recipe of a case: two rows a step, one after the other."""
    layers, length, changes = case
    here = {"train.backend": "trl", "model.quant": "bf16", "train.checkpointing": "on"} if tiny else {}
    sets = {"train.micro_batch": 1, "train.grad_accum": 2, "train.max_steps": 2, "model.max_seq_length": length}
    return vram.recipe_of(str(folder_of(layers, models)), {**sets, **here, **changes})


def measured(case: Case, models: Path, tiny: bool) -> dict[str, Any]:
    """Load, and take the steps. Bytes, and seconds."""
    from fitune.core.worker.training import model_with_adapter

    layers, length, changes = case
    recipe = recipe_of(case, models, tiny)
    model_with_adapter.prepare(recipe.train.backend, recipe.model)
    import torch

    from fitune.core.worker.models import ModelFiles

    kernel = model_with_adapter.attention_kernel(recipe.train.backend)
    gpu = vram.own_gpu() if torch.cuda.is_available() else None
    card = (gpu and Card(gpu.total_bytes or 0, gpu.free_bytes or 0, gpu.compute_capability, grows_in_place())) or None
    folder = folder_of(layers, models)
    budget = estimate(shapes.load(str(folder)), recipe, card)
    loaded = model_with_adapter.load(recipe, ModelFiles(folder, folder.name, None))
    short = min(SHORT, length // 2)
    step_s = trained(recipe, loaded, [short, short, short, length])
    row = {"layers": layers, "length": length, **changes, "kernel": kernel, "step_s": round(step_s, 2)}
    row |= {
        "tokens_per_s": round((short + length) / step_s),
        "budget_bytes": budget.total_bytes,
        "moment": budget.moment,
    }
    row |= {"low_bytes": budget.low_bytes, "high_bytes": budget.high_bytes, "host_bytes": budget.host_bytes}
    row["parts"] = {part.name: part.bytes for part in budget.parts}
    if gpu:
        reserved = torch.cuda.max_memory_reserved()
        row |= {"allocated": torch.cuda.max_memory_allocated(), "reserved": reserved}
        row["device"] = reserved + vram.booked_bytes(gpu.uuid) - torch.cuda.memory_reserved()
    return row


def trained(recipe: Recipe, loaded: Any, lengths: list[int]) -> float:
    """Steps on rows of these lengths, as a training takes them; the seconds of the last one."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from fitune.core.worker.training.trainer import CpuTrainer, trainer_config
    from fitune.core.worker.training.varlen_attention import allow_cudnn

    on_card = torch.cuda.is_available()
    lock = Path(tempfile.gettempdir()) / f"fitune-long-{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}.lock"

    class Turns(TrainerCallback):
        began = seconds = 0.0
        turn: Any = None

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == state.max_steps - 1:
                self.turn = lock.open("w")
                fcntl.flock(self.turn, fcntl.LOCK_EX)
            self.began = now()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.seconds = now() - self.began
            if self.turn:
                self.turn.close()

    def now() -> float:
        if on_card:
            torch.cuda.synchronize()
        return time.monotonic()

    rows = [{"input_ids": ids, "labels": ids} for ids in (torch.randint(4, 500, (each,)).tolist() for each in lengths)]
    allow_cudnn(rows)
    turns, args = Turns(), trainer_config(recipe, loaded.dtype, Path(tempfile.gettempdir()) / "fitune-long-rows")
    args.train_sampling_strategy = "sequential"
    trainer = (SFTTrainer if on_card else CpuTrainer)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=args,
        train_dataset=Dataset.from_list(rows),
        callbacks=[turns],
    )
    trainer.train()
    return turns.seconds


if __name__ == "__main__":
    main()
