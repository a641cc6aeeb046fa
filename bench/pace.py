"""Seconds of a micro-batch by its tokens, model, quantization, backend and checkpointing, and the pace model fitted to
them.

usage: python bench/pace.py measure MODELS_DIR [--only TEXT ...] [--out FILE.jsonl]
       python bench/pace.py fit FILE.jsonl ...
`measure` builds the models it needs in MODELS_DIR and loads each case in a process of its own. Tokens come in rows of
110 to 330 laid end to end, as people's rows are, and as one long row. `fit` prints for each kind of training the
milliseconds that the host takes for a layer, the share of the card's peak that its matrices reach, and the errors.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from fitune.core.forecast.pace import CARDS, flops_per_token
from fitune.core.memory import shapes

CASES = tuple(
    # (model, quantization, backend, checkpointing)
    (model, quant, backend, checkpointing)
    for model, quant, backend in (
        (vram.TINY, "nf4", "unsloth"),
        (vram.L1, "nf4", "unsloth"),
        (vram.L1, "bf16", "unsloth"),
        (vram.L3, "nf4", "unsloth"),
        (vram.L8, "nf4", "unsloth"),
        (vram.L8, "bf16", "unsloth"),
        (vram.Q14, "nf4", "unsloth"),
        (vram.Q32, "nf4", "unsloth"),
        (vram.TINY, "nf4", "trl"),
        (vram.L8, "nf4", "trl"),
        (vram.L8, "bf16", "trl"),
    )
    for checkpointing in ("off", "unsloth" if backend == "unsloth" else "on")
)
TOKENS = (200, 800, 1600, 3200, 6400, 12_800)
LONG_ROW = 12_800
REPEATS = 3
WARM = (1600, 500, 1600)
"""Micro-batches before those that count: kernels are compiled for them."""
MEAN_ROW = 220
"""Tokens of a row of 110 to 330."""
ATTENTION_SHARE = 0.335
"""Share of the card's peak that FlashAttention reaches with causal rows, forward and backward: from one row of 12,800
tokens against short rows with as many."""


class Training(NamedTuple):
    """A kind of training, whose constants are fitted together."""

    backend: str
    quant: str
    checkpointing: str


class Constants(NamedTuple):
    """The constants of a kind of training."""

    host_s: float
    """Seconds in which the host starts the kernels of one layer."""
    share: float
    """Share of the card's peak that matrix products reach."""
    tail_s: float
    """Seconds of each layer that no other work hides."""


class Work(NamedTuple):
    """The work of a micro-batch: the model's layers, and seconds at the card's peak."""

    layers: int
    matrices_s: float
    attention_s: float


def main() -> None:
    options = argparse.ArgumentParser()
    actions = options.add_subparsers(dest="action", required=True)
    measuring = actions.add_parser("measure")
    measuring.add_argument("models", type=Path)
    measuring.add_argument("--only", nargs="*", default=[""], help="only cases that say one of these, as they print")
    measuring.add_argument("--out", type=Path)
    measuring.add_argument("--case", type=int, help="measure this one case, in this process")
    fitting = actions.add_parser("fit")
    fitting.add_argument("files", type=Path, nargs="+")
    fitting.add_argument("--card", default="H200", help="a name in core/forecast/pace.py")
    args = options.parse_args()
    if args.action == "fit":
        fit([json.loads(line) for file in args.files for line in file.read_text().splitlines()], args.card)
    elif args.case is not None:
        measure(args.models, *CASES[args.case])
    else:
        measure_all(args.models, args.only, args.out)


def measure_all(models: Path, only: list[str], out: Path | None) -> None:
    """Each case in a process of its own; one that fails says why after the lines that it has printed."""
    vram.write(json.dumps({"about": vram.about()}) + "\n", out)
    for number, case in enumerate(CASES):
        if not any(text in " ".join(case) for text in only):
            continue
        vram.build(case[0], models, nf4=case[1] == "nf4")
        command = [sys.executable, __file__, "measure", str(models), "--case", str(number)]
        code, said, trouble = vram.ended(command, vram.LOAD_LIMIT_S)
        lines = "".join(line + "\n" for line in said.splitlines() if line.startswith('{"model"'))
        failed = json.dumps({"model": case[0], "case": " ".join(case[1:]), "failed": trouble}) + "\n"
        vram.write(lines + (failed if code else ""), out)


def measure(models: Path, model: str, quant: str, backend: str, checkpointing: str) -> None:
    """Load a model as the worker does and train micro-batches of each size; prints a line for each size."""
    changes = {
        "model.quant": quant,
        "model.max_seq_length": LONG_ROW,
        "train.backend": backend,
        "train.checkpointing": checkpointing,
        "train.micro_batch": 1,
        "train.optimizer": "adamw_torch_fused",
        "train.lr": 1e-9,
    }
    folder = vram.folder_of(model, models)
    recipe = vram.recipe_of(str(folder), changes)
    from fitune.core.worker.training import model_with_adapter

    model_with_adapter.prepare(backend)
    import torch

    from fitune.core.worker.models import ModelFiles

    torch.backends.cuda.enable_cudnn_sdp(False)
    kernel = model_with_adapter.attention_kernel(backend)
    loaded = model_with_adapter.load(recipe, ModelFiles(folder, model, None))
    plan = [(tokens, "short") for tokens in TOKENS] + [(LONG_ROW, "long")]
    taken = timed(recipe, loaded, plan)
    case = {"model": model, "quant": quant, "backend": backend, "checkpointing": checkpointing, "attention": kernel}
    for (tokens, rows), seconds in zip(plan, taken, strict=False):  # a card that is full takes no more
        line = {**case, "tokens": tokens, "rows": rows, "micro_s": round(median(seconds), 4)}
        print(json.dumps({**line, "least_s": round(min(seconds), 4), "times": len(seconds)}), flush=True)


def timed(recipe: Any, loaded: Any, plan: list[tuple[int, str]]) -> list[list[float]]:
    """Seconds of the micro-batches of each size, as far as the card's memory reaches."""
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTTrainer

    from fitune.core.worker.training.trainer import trainer_config

    dice = random.Random(7)
    sizes = [(tokens, "short") for tokens in WARM] + [each for each in plan for _ in range(REPEATS)]
    rows = Dataset.from_list([packed_row(tokens, kind, dice) for tokens, kind in sizes])
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": len(sizes)})})
    args = trainer_config(recipe, loaded.dtype, Path("/tmp/fitune-bench"), packed=True)
    trainer = SFTTrainer(model=loaded.model, processing_class=loaded.tokenizer, args=args, train_dataset=rows)
    trainer._get_train_sampler = lambda *_, **__: SequentialSampler(rows)
    step, seconds = trainer.training_step, list[float]()

    def clocked(*given: Any, **named: Any) -> Any:
        torch.cuda.synchronize()
        began = time.perf_counter()
        result = step(*given, **named)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        return result

    trainer.training_step = clocked
    try:
        trainer.train()
    except torch.OutOfMemoryError as error:
        print(f"no more memory: {error}", file=sys.stderr)
    counted = seconds[len(WARM) :]
    return [counted[at : at + REPEATS] for at in range(0, len(counted), REPEATS)]


def packed_row(tokens: int, kind: str, dice: random.Random) -> dict[str, list[int]]:
    """A micro-batch as one packed row; the second half of each of its rows is trained on."""
    lengths = list(row_lengths(tokens, dice)) if kind == "short" else [tokens]
    ids = [dice.randrange(4, 500) for _ in range(tokens)]
    trained = [place >= length // 2 for length in lengths for place in range(length)]
    labels = [token if is_trained else -100 for token, is_trained in zip(ids, trained, strict=True)]
    return {"input_ids": ids, "labels": labels, "seq_lengths": lengths}


def row_lengths(tokens: int, dice: random.Random) -> Iterator[int]:
    """Lengths of rows of 110 to 330 tokens; the last one takes what is left."""
    while tokens > 330:
        length = min(dice.randint(110, 330), tokens - 20)
        yield length
        tokens -= length
    yield tokens


def fit(rows: list[dict[str, Any]], card: str) -> None:
    """Fit the constants of each kind of training; prints them with the errors, then each row."""
    peak = CARDS[card][0] * 1e12
    by_kind: dict[Training, list[dict[str, Any]]] = {}
    for row in rows:
        if "micro_s" in row and "tokens" in row and not row.get("padded"):
            by_kind.setdefault(Training(row["backend"], row["quant"], row["checkpointing"]), []).append(row)
    for kind, mine in sorted(by_kind.items()):
        work = [operations(row, peak) for row in mine]
        taken = [float(row["micro_s"]) for row in mine]
        best = min(candidates(), key=lambda tried: fmean(map(abs, errors(tried, work, taken))))
        found = errors(best, work, taken)
        print(
            f"{' '.join(kind)}: host {1e3 * best.host_s:.1f} ms a layer, {best.share:.0%} of the card's peak, tail "
            f"{1e3 * best.tail_s:.1f} ms a layer; {len(mine)} rows, error median {median(map(abs, found)):.1%}, "
            f"worst {max(found, key=abs):+.0%}"
        )
        for row, error in zip(mine, found, strict=True):
            print(f"    {row['model']} {row['tokens']} {row['rows']}: {row['micro_s']:.3f} s {error:+.0%}")


def errors(constants: Constants, work: list[Work], taken: list[float]) -> list[float]:
    """By how much the seconds by the pace model differ from those taken, as a share."""
    return [seconds(constants, each) / took - 1 for each, took in zip(work, taken, strict=True)]


def seconds(constants: Constants, work: Work) -> float:
    """Seconds of a micro-batch: the host starts kernels while the card computes, and the slower of the two counts."""
    card_s = work.matrices_s / constants.share + work.attention_s / ATTENTION_SHARE
    return max(constants.host_s * work.layers, card_s + constants.tail_s * work.layers)


def candidates() -> Iterator[Constants]:
    """The constants that are tried."""
    for host in range(50, 260, 2):
        for share in range(30, 64):
            for tail in (0.0, 0.0003, 0.0006):
                yield Constants(host / 10_000, share / 100, tail)


def operations(row: dict[str, Any], peak: float) -> Work:
    """The work of a measured micro-batch. peak: operations a second of the card."""
    shape = shapes.load(row["model"])
    changes = {"train.backend": row["backend"], "train.checkpointing": row["checkpointing"]}
    recipe = vram.recipe_of(row["model"], {**changes, "model.quant": row["quant"]})
    length = row["tokens"] if row["rows"] == "long" else min(row["tokens"], MEAN_ROW)
    matrices = flops_per_token(shape, recipe, 0)
    attention = flops_per_token(shape, recipe, length) - matrices
    return Work(len(shape.layers), row["tokens"] * matrices / peak, row["tokens"] * attention / peak)


if __name__ == "__main__":
    main()
