"""Seconds of a step in many short trainings, by fitune's own functions: they score the pace model.

usage: python bench/pace_truth.py MODELS_DIR LENGTHS [--out FILE.jsonl]
LENGTHS: a file with the tokens of a real row on each line. Builds the models it needs in MODELS_DIR, and loads each in
a process of its own, which trains several kinds of rows, splits and numbers of checkpointed layers in turn. Prints one
JSON line a training, after one that names card and versions; tests/core/forecast/test_pace.py scores such lines.
"""

import argparse
import json
import random
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram

WARM, STEPS = 3, 12
"""Steps that do not count, as kernels are compiled in them, and all steps."""
TRAINING = {"train.optimizer": "adamw_torch_fused", "train.lr": 1e-9}


class Split(NamedTuple):
    """The rows of a training and their split into micro-batches."""

    lengths: str
    micro_batch: int
    grad_accum: int = 1
    packed: bool = False
    max_seq_length: int = 2048


SPLITS = (
    *(Split("real", 8), Split("real", 2, 4), Split("middle", 4, 2), Split("full", 2)),
    *(Split("real", 2, 2, packed=True), Split("real", 16), Split("short", 8), Split("long", 2, max_seq_length=8192)),
    *(Split("short", 32), Split("middle", 2)),
)
MODELS = {vram.L8: (4, 2, 10), vram.L1: (2, 1, 6), vram.Q14: (2, 1, 6), vram.TINY: (2, 1, 6)}
"""How many of the splits are trained while checkpointing skips no layer, half of the layers and all of them."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("lengths", type=Path)
    options.add_argument("--out", type=Path)
    options.add_argument("--model", help="measure this one model, in this process")
    args = options.parse_args()
    if args.model:
        measure(args.models, args.model, [int(line) for line in args.lengths.read_text().split()])
        return
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    for model in MODELS:
        vram.build(model, args.models, nf4=True)
        vram.write(in_own_process(model, args.models, args.lengths), args.out)


def in_own_process(model: str, models: Path, lengths: Path) -> str:
    """The lines of a model; one that fails says why after the lines that it has printed."""
    command = [sys.executable, __file__, str(models), str(lengths), "--model", model]
    code, out, trouble = vram.ended(command, vram.LOAD_LIMIT_S)
    lines = "".join(line + "\n" for line in out.splitlines() if line.startswith('{"training"'))
    return lines + (json.dumps({"training": model, "failed": trouble}) + "\n" if code else "")


def measure(models: Path, model: str, real_lengths: list[int]) -> None:
    """Load a model as the worker does and train it in each manner; prints a line each."""
    from fitune.core.worker.training import model_with_adapter

    folder = vram.folder_of(model, models)
    loading = vram.recipe_of(str(folder), {"model.max_seq_length": 8192, "train.checkpointing": "unsloth"})
    model_with_adapter.prepare("unsloth")
    from unsloth.models._utils import skip_checkpointing

    from fitune.core.worker.models import ModelFiles

    model_with_adapter.attention_kernel("unsloth")
    loaded = model_with_adapter.load(loading, ModelFiles(folder, model, None))
    layers = loaded.model.config.num_hidden_layers
    for skipped, count in zip((0, layers // 2, layers), MODELS[model], strict=True):
        if skipped:
            skip_checkpointing(loaded.model, skipped)
        checkpointing, kept = ("off", 0) if skipped == layers else ("unsloth", skipped)
        line = {"training": model, "quant": "nf4", "checkpointing": checkpointing, "checkpoint_skip_layers": kept}
        for split in SPLITS[:count]:
            dice = random.Random(str(split))
            rows_needed = STEPS * split.micro_batch * split.grad_accum * (8 if split.packed else 1)
            rows = [row(split.lengths, dice, real_lengths) for _ in range(rows_needed)]
            print(json.dumps({**line, **split._asdict(), **train(str(folder), loaded, split, rows)}), flush=True)


def row(kind: str, dice: random.Random, real_lengths: list[int]) -> dict[str, list[int]]:
    """A row of that kind with random tokens, whose second half is trained on."""
    lengths = {
        "real": dice.choice(real_lengths),
        "short": dice.randint(30, 90),
        "middle": min(2048, max(40, int(dice.lognormvariate(6.3, 0.7)))),
        "full": 2048,
        "long": int(100 * 80 ** dice.random()),
    }
    length = lengths[kind]
    ids = [dice.randrange(4, 40_000) for _ in range(length)]
    return {"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]}


def train(model: str, loaded: Any, split: Split, rows: list[dict[str, list[int]]]) -> dict[str, float]:
    """A short training: seconds of a step, and tokens of a micro-batch without padding."""
    import torch
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from fitune.core.worker.training import packing
    from fitune.core.worker.training.callbacks import tokens_of
    from fitune.core.worker.training.train import trainer_config
    from fitune.core.worker.training.varlen_attention import allow_cudnn

    ends: list[float] = []
    tokens: list[Any] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.synchronize()
            ends.append(time.perf_counter())

    def counted(model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> Any:
        tokens.append(tokens_of(inputs))
        return step(model, inputs, *rest, **named)

    changes = {"train.micro_batch": split.micro_batch, "train.grad_accum": split.grad_accum, "train.max_steps": STEPS}
    recipe = vram.recipe_of(model, {**changes, **TRAINING, "model.max_seq_length": split.max_seq_length})
    train_set, _ = packing.to_sets(rows, [], split.max_seq_length, split.packed)
    allow_cudnn(rows)
    trainer = SFTTrainer(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        args=trainer_config(recipe, loaded.dtype, Path("/tmp/fitune-bench"), split.packed),
        train_dataset=train_set,
        callbacks=[Clock()],
    )
    packing.pad_flat_batches(trainer, loaded.model.config.model_type)
    step, trainer.training_step = trainer.training_step, counted
    trainer.train()
    seconds = [end - began for began, end in pairwise(ends[WARM - 1 :])]
    a_micro = fmean(map(int, tokens[WARM * split.grad_accum :]))
    return {"tokens_a_micro": a_micro, "step_s": fmean(seconds), "median_step_s": median(seconds)}
