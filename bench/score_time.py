"""How long a score takes, part by part: a real `fitune train`, then a real `fitune score` of its run on other rows.

usage: python bench/score_time.py WORKDIR RECIPE ROWS.jsonl [--set KEY=VALUE ...] [--rows N] [--out FILE.jsonl]
Prints a JSON line for the training, with the score at its end if the recipe wants one, and one for the score: its rows,
its verdict, and the seconds of each part. A part is told by its events; the seconds before the first one, in which
Python starts, are in `command_s` alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.records import to_json
from fitune.core.runs import Forgot, Phase, Run, Score, Tail

FITUNE = [sys.executable, "-P", "-m", "fitune"]
NAME = f"score-{os.getpid()}"


def fitune(home: Path, *arguments: str) -> float:
    """The seconds that a command of fitune takes. Raises CalledProcessError if it fails."""
    began = time.monotonic()
    with (home / f"{NAME}.log").open("a") as log:
        subprocess.run(
            [*FITUNE, *arguments], env={**os.environ, "FITUNE_HOME": str(home)}, stdout=log, stderr=log,
            check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    return time.monotonic() - began


def parts(run: Run, job: str) -> dict[str, Any]:
    """Seconds of each part of the newest job of this name, and what its score came to."""
    events = [event for event in Tail(run.events).catch_up() if event.job == job]
    first = max(place for place, event in enumerate(events) if event.type == "started")
    seconds: dict[str, float] = {}
    found: dict[str, Any] = {}
    name, since = "start", events[first].t
    for event in events[first:]:
        if isinstance(event.data, Phase) and event.data.name != name:
            seconds[name] = seconds.get(name, 0.0) + event.t - since
            name, since = event.data.name, event.t
        if isinstance(event.data, Score):
            kept = ("word", "metric", "rows", "unscored", "leaked", "base", "tuned", "low", "high", "p")
            found |= {key: value for key, value in to_json(event.data).items() if key in kept}
        if isinstance(event.data, Forgot):
            found["forgot"] = [event.data.word, event.data.rows, event.data.base, event.data.tuned]
    seconds[name] = seconds.get(name, 0.0) + events[-1].t - since
    return {**found, "seconds": {part: round(each, 1) for part, each in seconds.items()}}


def tell(out: Path | None, case: str, command_s: float, more: dict[str, Any]) -> None:
    """Print a line, and add it to a file."""
    line = json.dumps({"case": case, **more, "command_s": round(command_s, 1)})
    print(line, flush=True)
    if out:
        with out.open("a") as file:
            file.write(line + "\n")


def measure(home: Path, recipe: Path, rows: Path, most: int | None, sets: Sequence[str], out: Path | None) -> None:
    """Train, score, tell."""
    run = Run(home / "runs" / NAME)
    named = ("--set", f"run.name={NAME}")
    command_s = fitune(home, "train", str(recipe), "--yes", "--share-gpu", *sets, *named)
    tell(out, "training", command_s, parts(run, "train"))
    limit = () if most is None else ("--rows", str(most))
    command_s = fitune(home, "score", NAME, "--data", str(rows), "--share-gpu", *limit)
    tell(out, "score", command_s, parts(run, "score"))


def main() -> int:
    """Measure; the exit status is 1 if a command failed, with the end of its log."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("work", type=Path)
    options.add_argument("recipe", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--set", action="append", default=[])
    options.add_argument("--rows", type=int)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    home = args.work.absolute()
    home.mkdir(parents=True, exist_ok=True)
    sets = [part for each in args.set for part in ("--set", each)]
    try:
        measure(home, args.recipe, args.data, args.rows, sets, args.out)
    except subprocess.CalledProcessError as error:
        said = (home / f"{NAME}.log").read_text()[-2000:]
        tell(args.out, "failed", 0.0, {"command": error.cmd[3:], "status": error.returncode, "log": said})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
