"""Another process takes memory from a training: does it go on, with the same batch and the same losses?

usage: python bench/recovery.py MODEL ROWS.jsonl [--free-gib 24] [--take-gib 12] [--steps 50] [--out FILE.jsonl]
MODEL is a folder; the card must be free of others. A process leaves the training so much of the card as --free-gib
says, and takes --take-gib of that at a moment of the training, as it becomes free. One JSON line a case: how the run
ended, what was told of the recovery, the largest difference of a step's loss from the undisturbed run, and the
processes that are left on the card. Runs lie in $FITUNE_HOME.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from fitune.core.runs import Eval, Event, Failed, Finished, Memory, Phase, Recovered, Run, Step, Tail
from fitune.core.units import GIB

TAKE_AT, EVAL_EVERY = 20, 15
MOMENTS = ("undisturbed", "step", "evaluation", "load")
LIMIT_S = 300
TAKER = """
import sys, time, torch
leave, take = (float(word) for word in sys.argv[1:])
free, _ = torch.cuda.mem_get_info()
held = [torch.empty(int(free - leave), dtype=torch.uint8, device="cuda")]
print(torch.cuda.mem_get_info()[0], flush=True)
sys.stdin.readline()
piece, got = 128 * 2**20, 0
while got < take:
    try:
        held.append(torch.empty(piece, dtype=torch.uint8, device="cuda"))
        got += piece
    except torch.OutOfMemoryError:
        time.sleep(0.02)
print(got, flush=True)
sys.stdin.read()
"""
"""The other process: arguments are bytes. It says how much it left, takes more after a line, and says that it has."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model", type=Path)
    options.add_argument("rows", type=Path)
    options.add_argument("--free-gib", type=float, default=24)
    options.add_argument("--take-gib", type=float, default=12)
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--out", type=Path, default=Path("recovery.jsonl"))
    args = options.parse_args()
    losses: dict[int, float] = {}
    with args.out.open("a") as out:
        print(json.dumps({"about": vram.about()}), file=out, flush=True)
        for moment in MOMENTS:
            row = measure(args, moment, losses)
            print(json.dumps(row), file=out, flush=True)
            print(json.dumps(row), flush=True)


def measure(args: argparse.Namespace, moment: str, calm: dict[int, float]) -> dict[str, Any]:
    """One training. `calm`: the losses of the undisturbed run by step, filled by it."""
    run = Run(Path(os.environ["FITUNE_HOME"]) / "runs" / moment)
    recipe = args.out.with_name(f"{moment}.toml")
    recipe.write_text(recipe_of(args, moment))
    with other_process(args.free_gib, args.take_gib) as other:
        command = [sys.executable, "-P", "-m", "fitune", "--answers", str(recipe), "--yes"]
        training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + LIMIT_S
        taken = moment == "undisturbed"
        while training.poll() is None and time.monotonic() < end:
            if not taken and has_come(run, moment):
                taken = True
                print(file=other.stdin, flush=True)
            time.sleep(0.02)
        training.kill()
        return {"case": moment, **row_of(run, calm), "exit": training.wait(), "left": on_card(other.pid)}


def recipe_of(args: argparse.Namespace, moment: str) -> str:
    """The recipe with its plan left open, so that the wizard chooses one for the memory that is free."""
    return (
        f'[model]\nid = "{args.model}"\n[data]\nsource = "{args.rows}"\neval_fraction = 0.05\n'
        f"[train]\nmax_steps = {args.steps}\neval_every = {EVAL_EVERY}\nsave_every = 10\npatience = 0\n"
        f'score = "off"\n[run]\nname = "{moment}"\n'
    )


@contextmanager
def other_process(free_gib: float, take_gib: float) -> Iterator["subprocess.Popen[str]"]:
    """A process that leaves so much of the card, and takes more once it reads a line."""
    command = [sys.executable, "-c", TAKER, str(free_gib * GIB), str(take_gib * GIB)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        time.sleep(2)  # the driver takes a moment to clear up after a process


def has_come(run: Run, moment: str) -> bool:
    """True once the moment of a training is there at which the other process takes memory."""
    found = events(run)
    if moment == "load":
        return any(isinstance(event.data, Phase) and event.data.name == "data" for event in found)
    step = TAKE_AT if moment == "step" else 2 * EVAL_EVERY
    return any(isinstance(event.data, Step) and (event.data.step or 0) >= step for event in found)


def row_of(run: Run, calm: dict[int, float]) -> dict[str, Any]:
    """What a run's events say."""
    found = [event.data for event in events(run)]
    losses = {each.step: each.loss for each in found if isinstance(each, Step) and each.step and each.loss is not None}
    if not calm:
        calm.update(losses)
    last = next((each for each in reversed(found) if isinstance(each, Finished | Failed)), None)
    return {
        "end": type(last).__name__,
        "steps": max(losses, default=0),
        "evaluations": [each.step for each in found if isinstance(each, Eval)],
        "told": [each.message for each in found if isinstance(each, Recovered)],
        "most_loss_difference": max(
            (abs(losses[step] - calm[step]) for step in losses.keys() & calm.keys()), default=None
        ),
        "peak_bytes": max((each.peak_device or 0 for each in found if isinstance(each, Memory)), default=None),
    }


def events(run: Run) -> list[Event]:
    return list(Tail(run.events).read())


def on_card(but: int) -> list[str]:
    """The processes on the card other than the one with the memory."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if not line.startswith(f"{but},")]


if __name__ == "__main__":
    main()
