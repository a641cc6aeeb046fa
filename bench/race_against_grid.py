"""The rate that the race picks, beside whole trainings at every rate of a grid: how much is lost by the race.

usage: python bench/race_against_grid.py WORKDIR RECIPE [--minutes N] [--set KEY=VALUE ...] [--at-once N]
           [--grid-after SECONDS] [--limit SECONDS] [--judge MODELDIR CHATS.jsonl] [--out FILE.jsonl]
A real `fitune tune-lr`, and a real `fitune train` at each of its rates, at one below and one above them. Prints a JSON
line for each as it ends, and one with what the pick has more of held-out loss than the best of the grid, as a share.
A whole training looks at a few held-out rows only. --judge: take the loss of the answers of these chats instead, by
bench/held_out.py, when all trainings are done.
--grid-after: begin whole trainings so many seconds after the race, at its first rates and near them: their
losses do not depend on the pace. Without it they begin when the race is over.
--limit: give a command up after so many seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.recipe import load
from fitune.core.records import from_json
from fitune.core.runs import Run
from fitune.core.score import Race, race
from fitune.core.worker.scoring.held_out import read_looks

FITUNE = [sys.executable, "-P", "-m", "fitune"]
LOG = "log.txt"


@dataclass(frozen=True)
class Bench:
    """What all commands share."""

    home: Path
    recipe: Path
    sets: tuple[str, ...]
    limit_s: float | None
    out: Path | None

    def fitune(self, command: str, *arguments: str) -> str:
        """What a command of fitune prints. Raises SubprocessError if it fails, or takes too long."""
        with (self.home / LOG).open("a") as log:
            return subprocess.run(
                [*FITUNE, command, str(self.recipe), "--share-gpu", *self.sets, *arguments],
                env={**os.environ, "FITUNE_HOME": str(self.home)}, stdout=subprocess.PIPE, stderr=log,
                text=True, check=True, stdin=subprocess.DEVNULL, timeout=self.limit_s,
            ).stdout  # fmt: skip

    def tell(self, **line: Any) -> None:
        """Print a line, and add it to a file."""
        text = json.dumps(line)
        print(text, flush=True)
        if self.out:
            with self.out.open("a") as file:
                file.write(text + "\n")

    def race(self, minutes: float) -> Race | None:
        """The race of the recipe; None if it failed, which is told."""
        began = time.monotonic()
        try:
            printed = self.fitune("tune-lr", "--json", "--minutes", str(minutes))
        except subprocess.SubprocessError as error:
            self.tell_failure("race", error, began)
            return None
        found = from_json(Race, json.loads(printed))
        laps = [
            (lap.lr, lap.steps, lap.held_out and round(lap.held_out, 4), round(lap.elapsed_s, 1)) for lap in found.laps
        ]
        elapsed_s = round(time.monotonic() - began, 1)
        self.tell(case="race", minutes=minutes, best_lr=found.best_lr, lr_steps_held_out_s=laps, elapsed_s=elapsed_s)
        return found

    def whole(self, lr: float) -> float | None:
        """The held-out loss after the last step of a whole training; None if it failed, which is told."""
        name, began = f"grid-{lr:g}", time.monotonic()
        fixed = [f"run.name={name}", f"train.lr={lr}", "train.score=off", "train.patience=0"]
        try:
            self.fitune("train", "--yes", *(part for each in fixed for part in ("--set", each)))
        except subprocess.SubprocessError as error:
            self.tell_failure(name, error, began)
            return None
        looks = read_looks(self.grid_run(lr))
        assert looks
        loss, step = looks.mean(looks.looks[-1]), looks.looks[-1].step
        elapsed_s = round(time.monotonic() - began, 1)
        self.tell(case="whole training", lr=lr, steps=step, held_out_loss=round(loss, 4), elapsed_s=elapsed_s)
        return loss

    def judged(self, rates: Sequence[float], model: Path, chats: Path) -> dict[float, float]:
        """The loss of the answers of other chats after each whole training. Raises CalledProcessError."""
        listed = self.home / "adapters.json"
        listed.write_text(json.dumps({f"{lr:g}": str(self.grid_run(lr).adapter) for lr in rates}))
        command = [sys.executable, str(Path(__file__).with_name("held_out.py")), str(model), str(chats), str(listed)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found = {}
        for line in map(json.loads, (line for line in out.splitlines() if line.startswith('{"held_out"'))):
            self.tell(case="judged", **line)
            if "answers" in line and line["held_out"] in {f"{lr:g}" for lr in rates}:
                found[float(line["held_out"])] = line["answers"]
        return found

    def grid_run(self, lr: float) -> Run:
        """The run of a whole training."""
        return Run(self.home / "runs" / f"grid-{lr:g}")

    def tell_failure(self, what: str, error: Exception, began: float) -> None:
        """Tell what failed, with the end of what was said."""
        said = (self.home / LOG).read_text()[-600:]
        self.tell(case="failed", what=what, why=str(error)[-80:], log=said, elapsed_s=round(time.monotonic() - began))


def around(rates: Sequence[float]) -> list[float]:
    """The rates with one below and one above them."""
    return [float(f"{min(rates) / 2:.3g}"), *sorted(rates), float(f"{2 * max(rates):.3g}")]


def main() -> None:
    """Race, train the grid, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("work", type=Path)
    options.add_argument("recipe", type=Path)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--set", action="append", default=[])
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--grid-after", type=float)
    options.add_argument("--limit", type=float)
    options.add_argument("--judge", type=Path, nargs=2, metavar=("MODELDIR", "CHATS.jsonl"))
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    home = args.work.absolute()
    home.mkdir(parents=True, exist_ok=True)
    sets = tuple(part for each in args.set for part in ("--set", each))
    bench = Bench(home, args.recipe, sets, args.limit, args.out)
    grid: dict[float, Future[float | None]] = {}
    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(args.at_once) as pool:

        def train(rates: Sequence[float]) -> None:
            for lr in rates:
                if not any(isclose(lr, each, rel_tol=0.02) for each in grid):
                    grid[lr] = pool.submit(bench.whole, lr)

        racing = alone.submit(bench.race, args.minutes)
        if args.grid_after is not None:
            time.sleep(args.grid_after)
            first = around(race.rates(load.load(args.recipe, args.set).train.rate))
            train([*first, 2 * first[-1]])
        found = racing.result()
        if found:
            train(around([lap.lr for lap in found.laps]))
        losses = {lr: loss for lr, each in grid.items() if (loss := each.result()) is not None}
    if args.judge:
        losses = bench.judged(list(losses), *args.judge)
    picked = next((lr for lr in losses if found and found.best_lr and isclose(lr, found.best_lr, rel_tol=0.02)), None)
    if picked is not None:
        best = min(losses, key=losses.__getitem__)
        more = round(losses[picked] / losses[best] - 1, 4)
        bench.tell(case="the race's pick", lr=picked, best_of_grid=best, more_than_best=more)


if __name__ == "__main__":
    main()
