"""Does fitune cost anything? The same fine-tune by hand and through `fitune train`, in turn, on one card.

usage: python bench/spine.py MODELDIR [--pairs 2] [--steps 40] [--out FILE]
MODELDIR: see bench/make_model.py. Prints a JSON line a run, then the ratios fitune / by hand of tokens per second,
peak device memory and time from the command to the first finished step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOKENS_A_STEP = 2 * 2048
WARM_STEPS = 8
"""Steps left out: kernels are compiled and tuned in them."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model", type=Path)
    options.add_argument("--pairs", type=int, default=2)
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(Path(folder), rows=2 * args.steps + 2)
        runs = []
        for _ in range(args.pairs):
            for measure in (by_hand, through_fitune):
                runs.append(measure(args.model, data, args.steps, Path(folder)))
                print(json.dumps(runs[-1]), flush=True)
    ratios = {key: ratio(runs, key) for key in ("tokens_per_s", "peak_device_bytes", "first_step_s")}
    print(json.dumps({"fitune / by hand": ratios}), flush=True)
    if args.out:
        args.out.write_text("\n".join(map(json.dumps, [*runs, {"fitune / by hand": ratios}])) + "\n")


def write_rows(folder: Path, rows: int) -> Path:
    """Rows longer than 2,048 tokens, so that each is cut to exactly that."""
    text = "the quick brown fox jumps over the lazy dog " * 600
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"{number} {text}"}) + "\n" for number in range(rows)))
    return path


def by_hand(model: Path, data: Path, steps: int, folder: Path) -> dict[str, object]:
    """bench/plain_unsloth.py, timed from its command."""
    script = Path(__file__).with_name("plain_unsloth.py")
    began = time.time()
    done = subprocess.run([sys.executable, script, model, data, str(steps)], capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    if done.returncode or not lines:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    times = [line["t"] for line in lines if "t" in line]
    return summary("by hand", began, times, lines[-1]["peak_device_bytes"], lines[-2]["loss"])


def through_fitune(model: Path, data: Path, steps: int, folder: Path) -> dict[str, object]:
    """The same as a recipe, timed from the command `fitune train`."""
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'[model]\nid = "{model}"\nquant = "nf4"\nmax_seq_length = 2048\n'
        f'[data]\nsource = "{data}"\neval_fraction = 0\n[lora]\nr = 16\nalpha = 16\n'
        f"[train]\nmicro_batch = 2\ngrad_accum = 1\nmax_steps = {steps}\nsave_every = 100000\nwarmup_ratio = 0.025\n"
    )
    environment = {**os.environ, "FITUNE_HOME": str(folder / "home")}
    began = time.time()
    done = subprocess.run([sys.executable, "-P", "-m", "fitune", "train", recipe], env=environment)
    run = max((folder / "home" / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    if done.returncode:
        sys.exit((run / "worker.log").read_text()[-6000:])
    seen = [event for event in events if event["type"] == "step"]
    peak = max(event["data"]["peak_device"] or 0 for event in events if event["type"] == "memory")
    return summary("fitune", began, [event["t"] for event in seen], peak, seen[-1]["data"]["loss"])


def summary(who: str, began: float, times: list[float], peak_bytes: int, loss: float) -> dict[str, object]:
    steady = times[WARM_STEPS - 1 :]
    return {
        "who": who,
        "tokens_per_s": TOKENS_A_STEP * (len(steady) - 1) / (steady[-1] - steady[0]),
        "peak_device_bytes": peak_bytes,
        "first_step_s": times[0] - began,
        "last_loss": loss,
    }


def ratio(runs: list[dict[str, Any]], key: str) -> float:
    def median(who: str) -> float:
        return statistics.median(float(run[key]) for run in runs if run["who"] == who)

    return round(median("fitune") / median("by hand"), 4)


if __name__ == "__main__":
    main()
