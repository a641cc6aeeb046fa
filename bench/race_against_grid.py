"""The rate that the race picks, beside whole trainings at every rate of a grid: how much is lost by the race.

usage: python bench/race_against_grid.py WORKDIR RECIPE [--minutes N] [--set KEY=VALUE ...] [--at-once N]
A real `fitune tune-lr`, then a real `fitune train` at each of its rates, and at one below and one above them. Prints a
JSON line for each, and one with what the pick has more of held-out loss than the best of the grid, as a share.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.records import from_json
from fitune.core.runs import Run
from fitune.core.score import Race
from fitune.core.worker.scoring.held_out import read_looks

FITUNE = [sys.executable, "-P", "-m", "fitune"]


def fitune(home: Path, *arguments: str) -> str:
    """What a command of fitune prints. Raises CalledProcessError if it fails."""
    with (home / "log.txt").open("a") as log:
        return subprocess.run(
            [*FITUNE, *arguments], env={**os.environ, "FITUNE_HOME": str(home)}, stdout=subprocess.PIPE, stderr=log,
            text=True, check=True, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip


def race(home: Path, recipe: Path, minutes: float, sets: Sequence[str]) -> Race:
    """The race of the recipe."""
    began = time.monotonic()
    printed = fitune(home, "tune-lr", str(recipe), "--json", "--share-gpu", "--minutes", str(minutes), *sets)
    found = from_json(Race, json.loads(printed))
    laps = [(lap.lr, lap.steps, lap.held_out and round(lap.held_out, 4), round(lap.elapsed_s, 1)) for lap in found.laps]
    line = {"case": "race", "minutes": minutes, "best_lr": found.best_lr, "lr_steps_held_out_s": laps}
    print(json.dumps({**line, "elapsed_s": round(time.monotonic() - began, 1)}), flush=True)
    return found


def whole(home: Path, recipe: Path, lr: float, sets: Sequence[str]) -> float:
    """The held-out loss after the last step of a whole training."""
    name, began = f"grid-{lr:g}", time.monotonic()
    fixed = [f"run.name={name}", f"train.lr={lr}", "train.score=off", "train.patience=0"]
    fitune(
        home, "train", str(recipe), "--yes", "--share-gpu", *sets, *(part for each in fixed for part in ("--set", each))
    )
    looks = read_looks(Run(home / "runs" / name))
    assert looks
    loss, step = looks.mean(looks.looks[-1]), looks.looks[-1].step
    line = {"case": "whole training", "lr": lr, "steps": step, "held_out_loss": round(loss, 4)}
    print(json.dumps({**line, "elapsed_s": round(time.monotonic() - began, 1)}), flush=True)
    return loss


def main() -> None:
    """Race, train the grid, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("work", type=Path)
    options.add_argument("recipe", type=Path)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--set", action="append", default=[])
    options.add_argument("--at-once", type=int, default=1)
    args = options.parse_args()
    home = args.work.absolute()
    home.mkdir(parents=True, exist_ok=True)
    sets = [part for each in args.set for part in ("--set", each)]
    found = race(home, args.recipe, args.minutes, sets)
    rates = sorted({lap.lr for lap in found.laps})
    grid = [float(f"{rates[0] / 2:.3g}"), *rates, float(f"{2 * rates[-1]:.3g}")]
    with ThreadPoolExecutor(args.at_once) as pool:
        losses = dict(zip(grid, pool.map(lambda lr: whole(home, args.recipe, lr, sets), grid), strict=True))
    assert found.best_lr
    best = min(losses, key=losses.__getitem__)
    line = {"case": "the race's pick", "lr": found.best_lr, "best_of_grid": best}
    print(json.dumps({**line, "more_than_best": round(losses[found.best_lr] / losses[best] - 1, 4)}), flush=True)


if __name__ == "__main__":
    main()
