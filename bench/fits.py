"""Whether what `fitune fit` promises holds on a card with little free memory: its plan runs, its longest rows run, and
hardly longer ones would.

usage: python bench/fits.py MODELS_DIR [--only TEXT ...] [--out FILE.jsonl]
Another process holds the rest of the card. Models are random weights stored in 4 bits, made in MODELS_DIR. One JSON
line a case: a plan is trained for 20 steps by `fitune train`; longest rows are bisected in one load by the worker's
functions.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vram
from make_model import make_nf4

from core.machine import GIB

L70 = "meta-llama/Llama-3.3-70B-Instruct"
CASES = (
    # (what to prove, free GiB, model)
    ("plan", 6, vram.L8),
    ("longest", 8, vram.L8),
    ("plan", 8, vram.Q14),
    ("longest", 12, vram.L8),
    ("plan", 12, vram.Q32),
    ("longest", 16, vram.Q14),
    ("longest", 24, vram.Q32),
    ("plan", 24, vram.L8),
    ("plan", 24, L70),
    ("plan", 16, L70),
)
STEPS, LENGTH = 20, 2048
CLOSE = 0.02
"""The bisection ends when the longest length that ran and the shortest that did not are this close."""
MOVED = 0.05
"""GiB by which the free memory may differ before and after."""
HOLD = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(max(0, int(free - float(sys.argv[1]))), dtype=torch.uint8, device="cuda")
print(torch.cuda.mem_get_info()[0], flush=True)
sys.stdin.read()
print(torch.cuda.mem_get_info()[0])
"""
FITUNE = [sys.executable, "-P", "-m", "tui"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument(
        "--only", nargs="*", default=[""], help="only cases that say one of these: 'plan 6 meta-llama'"
    )
    options.add_argument("--out", type=Path)
    options.add_argument("--rows-of", type=Path, help="in this process: bisect the longest rows of this recipe")
    args = options.parse_args()
    if args.rows_of:
        print(json.dumps(bisected(args.rows_of, args.models)))
        return
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    for what, free_gib, model in CASES:
        if any(text in f"{what} {free_gib} {model}" for text in args.only):
            folder = vram.folder_of(model, args.models)
            if not folder.exists():
                make_nf4(model, folder)
            found = proven(what, free_gib, folder)
            vram.write(json.dumps({"what": what, "free_gib": free_gib, "model": model, **found}) + "\n", args.out)


def proven(what: str, free_gib: int, folder: Path) -> dict[str, Any]:
    """Ask `fitune fit` for its best with so much free, and try it."""
    with tempfile.TemporaryDirectory() as place, only_free(free_gib) as really_free:
        recipe = write_recipe(Path(place), folder)
        asked = subprocess.run([*FITUNE, "fit", recipe, "--json"], capture_output=True, text=True)
        if not asked.stdout:
            return {"free_bytes": really_free, "failed": asked.stderr[-300:]}
        said = json.loads(asked.stdout)
        tried = trained(said, recipe) if what == "plan" else longest(said, recipe)
        return {"free_bytes": really_free, **tried}


def trained(said: dict[str, Any], recipe: Path) -> dict[str, Any]:
    """Train the plan by the command line, and tell what it took."""
    plan = said["plan"]
    sets = [text for key, value in plan["set"].items() for text in ("--set", f"{key}={value}")]
    return {"set": plan["set"], **measured(recipe, sets)}


def measured(recipe: Path, sets: list[str]) -> dict[str, Any]:
    """Run `fitune train` on a recipe; what it took, in bytes, beside what its budget had said."""
    home = recipe.parent / "home"
    command = [*FITUNE, "train", recipe, "--yes", "--share-gpu", *sets, "--set", "run.name=measured"]
    done = subprocess.run(command, env={**os.environ, "FITUNE_HOME": str(home)}, capture_output=True, text=True)
    run = home / "runs" / "measured"
    if not run.exists():
        return {"failed": done.stderr[-300:]}
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    budget = json.loads((run / "run.json").read_text())["budget"]
    steps, last = [event["data"] for event in events if event["type"] == "step"], events[-1]
    memory = last["data"].get("memory") or {}
    paces = sorted(step["tokens_per_s"] for step in steps)
    return {
        "predicted": budget["total_bytes"],
        "predicted_host": budget["host_bytes"],
        "device": memory.get("peak_device"),
        "reserved": memory.get("peak_reserved"),
        "allocated": memory.get("peak_allocated"),
        "host_peak": memory.get("peak_host"),
        "steps": len(steps),
        "tokens_per_s": round(paces[len(paces) // 2]) if paces else None,
        "failed": last["data"].get("message") if last["type"] == "failed" else None,
    }


def longest(said: dict[str, Any], recipe: Path) -> dict[str, Any]:
    """Bisect, in a process of its own, the longest rows that run with the settings of the longest plan."""
    recipe.with_suffix(".json").write_text(json.dumps(said["longest"]["set"]))
    model = recipe.parent / "model"
    command = [sys.executable, __file__, str(model), "--rows-of", str(recipe.with_suffix(".json"))]
    done = subprocess.run(command, capture_output=True, text=True)
    found = {"set": said["longest"]["set"], "predicted": said["longest"]["budget"]["total_bytes"]}
    if done.returncode:
        return {**found, "failed": done.stderr.strip()[-300:]}
    return {**found, **json.loads(done.stdout.splitlines()[-1])}


def bisected(settings: Path, model: Path) -> dict[str, Any]:
    """The longest length that trains, near the promised one: load once, try lengths. Tokens."""
    changes = {**json.loads(settings.read_text()), "train.grad_accum": 1}
    recipe = vram.recipe_of(str(model), changes)
    from core.worker import backends

    backends.prepare(recipe.train.backend)
    import torch

    from core.worker.models import Source

    loaded = backends.load(recipe, Source(model.resolve(), str(model), None))
    promised = recipe.model.max_seq_length

    def runs(length: int) -> bool:
        for module in loaded.model.modules():  # Unsloth refuses rows longer than what it loaded the model for
            if hasattr(module, "max_seq_length"):
                module.max_seq_length = length
        try:
            vram.train(vram.recipe_of(str(model), {**changes, "model.max_seq_length": length}), loaded)
        except torch.OutOfMemoryError:
            return False
        return True

    if not runs(promised):
        return {"promised": promised, "runs": False}
    peak = torch.cuda.max_memory_reserved()
    low, high = promised, round(promised * 1.25)
    while runs(high) and high < 4 * promised:
        low, high = high, high * 2
    while high - low > CLOSE * low:
        middle = (low + high) // 2
        low, high = (middle, high) if runs(middle) else (low, middle)
    return {"promised": promised, "runs": True, "reserved": peak, "longest": low, "share": round(promised / low, 3)}


def write_recipe(place: Path, folder: Path) -> Path:
    """A recipe for a model with rows that fill its length, two of them a step."""
    (place / "model").symlink_to(folder.resolve())
    rows = write_rows(place)
    recipe = place / "recipe.toml"
    recipe.write_text(
        f'[model]\nid = "{place / "model"}"\nmax_seq_length = {LENGTH}\n'
        f'[data]\nsource = "{rows}"\neval_fraction = 0\npacking = false\n'
        f"[train]\nmicro_batch = 2\ngrad_accum = 1\nmax_steps = {STEPS}\nsave_every = 100000\n"
    )
    return recipe


def write_rows(place: Path) -> Path:
    """Rows of 10,000 tokens and more: each is cut to the length of the recipe."""
    text = "the quick brown fox jumps over the lazy dog " * 1200
    rows = place / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"{number} {text}"}) + "\n" for number in range(160)))
    return rows


@contextmanager
def only_free(gib: float) -> Iterator[int]:
    """Another process holds the card but for `gib`. Yields the bytes that are then free. Raises SystemExit if they are
    not the same in the end: something else used the card, and what was measured means nothing."""
    command = [sys.executable, "-c", HOLD, str(gib * GIB)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    free = int(holder.stdout.readline())
    try:
        yield free
    finally:
        after = int(holder.communicate("")[0])
    if abs(after - free) > MOVED * GIB:
        sys.exit(f"{free / GIB:.2f} GiB were free, and {after / GIB:.2f} GiB in the end: something else uses the card.")


if __name__ == "__main__":
    main()
