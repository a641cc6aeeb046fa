"""Whether larger steps learn as well as the guide's 8 rows: held-out loss of a small model, three seeds each.

usage: python bench/packing_learns.py MODEL ROWS.jsonl WORKDIR [--seeds N] [--out FILE.jsonl]
Each training is a `fitune train` of its own; all run at once, since the loss does not depend on the pace. The learning
rate grows with the square root of the rows of a step. Runs with one seed hold out the same rows. Prints one JSON line a
training, then the mean of each kind of training beside the guide's.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.vram import about, write

FITUNE = [sys.executable, "-P", "-m", "fitune", "train"]
GUIDE_ROWS, GUIDE_LR = 8, 2e-4
PACKED_GAIN = 10
"""Rows of GSM8K in one of 2,048 tokens."""
LIMIT_S = 600
FIRST_SEED = 3407


class Plan(NamedTuple):
    """The rows of an optimizer step, and passes over the data."""

    rows: int
    epochs: int
    packed: bool = False
    """True: `rows` is the number of packed rows."""

    @property
    def lr(self) -> float:
        return GUIDE_LR * math.sqrt(self.rows * (PACKED_GAIN if self.packed else 1) / GUIDE_ROWS)


PLANS = (Plan(GUIDE_ROWS, 1), Plan(32, 1), Plan(8, 1, packed=True), Plan(GUIDE_ROWS, 3), Plan(32, 3))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("rows", type=Path)
    options.add_argument("work", type=Path)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    write(json.dumps({"about": about()}) + "\n", args.out)
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    running = {(plan, seed): start(args, plan, seed) for plan in PLANS for seed in seeds}
    losses: dict[Plan, list[float]] = {plan: [] for plan in PLANS}
    for (plan, seed), process in running.items():
        process.wait(LIMIT_S)
        found = result(args.work, name_of(plan, seed))
        if "held_out_loss" in found:
            losses[plan].append(found["held_out_loss"])
        write(json.dumps({**plan._asdict(), "lr": plan.lr, "seed": seed, **found}) + "\n", args.out)
    for plan, own in losses.items():
        guide = losses[Plan(GUIDE_ROWS, plan.epochs)]
        if len(own) == len(guide) == args.seeds:
            line = {**plan._asdict(), "mean": round(fmean(own), 4), "spread": round(stdev(own), 4)}
            more = [each - other for each, other in zip(own, guide, strict=True)]
            write(json.dumps({**line, "more_than_guide": [round(each, 4) for each in more]}) + "\n", args.out)


def name_of(plan: Plan, seed: int) -> str:
    return f"{'packed' if plan.packed else 'rows'}-{plan.rows}-epochs-{plan.epochs}-{seed}"


def start(args: argparse.Namespace, plan: Plan, seed: int) -> "subprocess.Popen[bytes]":
    """Start the training of a plan."""
    name = name_of(plan, seed)
    recipe = args.work / f"{name}.toml"
    recipe.write_text(f"""[model]
id = "{args.model}"
quant = "bf16"
[data]
source = "{args.rows.absolute()}"
eval_fraction = 0.2
packing = {str(plan.packed).lower()}
[train]
micro_batch = {plan.rows}
grad_accum = 1
epochs = {plan.epochs}
lr = {plan.lr:.3g}
optimizer = "adamw_torch_fused"
checkpointing = "off"
seed = {seed}
eval_every = 100000
save_every = 100000
[run]
name = "{name}"
""")
    env = {**os.environ, "FITUNE_HOME": str(args.work)}
    with (args.work / f"{name}.log").open("w") as log:
        return subprocess.Popen([*FITUNE, str(recipe), "--yes", "--share-gpu"], env=env, stdout=log, stderr=log)


def result(work: Path, name: str) -> dict[str, Any]:
    """The last held-out loss of a run, and its steps; what its log said last if it has none."""
    events_file = work / "runs" / name / "events.jsonl"
    events = [json.loads(line) for line in events_file.read_text().splitlines()] if events_file.exists() else []
    found = {event["type"]: event["data"] for event in events}
    if "eval" not in found or "step" not in found:
        return {"failed": (work / f"{name}.log").read_text(errors="replace")[-300:]}
    return {"held_out_loss": round(found["eval"]["loss"], 4), "steps": found["step"]["step"]}


if __name__ == "__main__":
    main()
