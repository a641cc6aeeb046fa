"""Whether what `fitune fit` promises holds on a card with little free memory: its plan runs, its longest rows run, and
hardly longer ones would.

usage: python bench/fits.py MODELS_DIR [--only TEXT ...] [--limit-s SECONDS] [--forget] [--out FILE.jsonl]
Another process holds the rest of the card. Models are random weights stored in 4 bits, made in MODELS_DIR. One JSON
line a case, also of one that failed or took longer than the limit: a plan is trained for 20 steps by `fitune train`;
longest rows are searched for in one load by the worker's functions, two steps a length.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from fitune.core.units import GIB

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
STEPS, LENGTH, ROWS = 20, 2048, 64
PROBE_STEPS = 2
"""Enough to tell whether a length runs: the second is the first true peak."""
NEAR, FARTHEST, CLOSE = 0.04, 4.0, 0.02
"""The search goes away from the promised length by this share, then by twice that ...; it ends when the longest length
that ran and the shortest that did not are CLOSE."""
MOVED = 0.05
"""GiB by which the free memory may differ before and after."""
ASK_LIMIT_S = 120
HOLD = """
import sys, time, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(max(0, int(free - float(sys.argv[1]))), dtype=torch.uint8, device="cuda")
left, _ = torch.cuda.mem_get_info()
print(left, flush=True)
sys.stdin.read()
until = time.monotonic() + 15  # the driver takes a moment to clear up after a process
while abs(torch.cuda.mem_get_info()[0] - left) > float(sys.argv[2]) and time.monotonic() < until:
    time.sleep(0.5)
print(torch.cuda.mem_get_info()[0])
"""
FITUNE = [sys.executable, "-P", "-m", "fitune"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument(
        "--only", nargs="*", default=[""], help="only cases that say one of these: 'plan 6 meta-llama'"
    )
    options.add_argument("--limit-s", type=float, default=900, help="after so long a case is given up")
    options.add_argument("--forget", action="store_true", help="remove a model after its last case: all take 75 GB")
    options.add_argument("--out", type=Path)
    options.add_argument("--rows-of", type=Path, help="in this process: bisect the longest rows of this recipe")
    args = options.parse_args()
    if args.rows_of:
        search(args.rows_of, args.models)
        return
    vram.write(json.dumps({"about": vram.about()}) + "\n", args.out)
    cases = [case for case in CASES if any(text in "{} {} {}".format(*case) for text in args.only)]
    for number, (what, free_gib, model) in enumerate(cases, 1):
        folder = vram.folder_of(model, args.models)
        try:
            vram.build(model, args.models, nf4=True)
            found = proven(what, free_gib, folder, args.limit_s)
        except (vram.NotMade, Disturbed, OSError, ValueError) as error:
            found = {"failed": str(error)[-300:]}  # the other cases are worth having all the same
        vram.write(json.dumps({"what": what, "free_gib": free_gib, "model": model, **found}) + "\n", args.out)
        if args.forget and not any(later == model for _, _, later in cases[number:]):
            shutil.rmtree(folder, ignore_errors=True)


class Disturbed(Exception):
    """Something else used the card, and what was measured means nothing."""


def proven(what: str, free_gib: int, folder: Path, limit_s: float) -> dict[str, Any]:
    """Ask `fitune fit` for its best with so much free, and try it."""
    with tempfile.TemporaryDirectory() as place, only_free(free_gib) as really_free:
        recipe = write_recipe(Path(place), folder)
        _, said, told = vram.ended([*FITUNE, "fit", str(recipe), "--json"], ASK_LIMIT_S, home_of(recipe))
        wanted = json.loads(said)["plan" if what == "plan" else "longest"] if said else None
        if wanted is None:
            return {"free_bytes": really_free, "failed": told or json.loads(said)["reason"]}
        tried = trained(wanted, recipe, limit_s) if what == "plan" else longest(wanted, recipe, limit_s)
        return {"free_bytes": really_free, "set": wanted["set"], **tried}


def trained(plan: dict[str, Any], recipe: Path, limit_s: float) -> dict[str, Any]:
    """Train the plan by the command line, and tell what it took."""
    return measured(
        recipe, [text for key, value in plan["set"].items() for text in ("--set", f"{key}={value}")], limit_s
    )


def measured(recipe: Path, sets: list[str], limit_s: float) -> dict[str, Any]:
    """Run `fitune train` on a recipe; what it took, in bytes, beside what its budget had said."""
    env = home_of(recipe)
    command = [*FITUNE, "train", str(recipe), "--yes", "--share-gpu", *sets, "--set", "run.name=measured"]
    code, _, told = vram.ended(command, limit_s, env)
    if code:
        vram.ended([*FITUNE, "stop", "measured", "--now"], ASK_LIMIT_S, env)  # the worker outlives its command
    run = Path(env["FITUNE_HOME"]) / "runs" / "measured"
    told_of = run / "events.jsonl"
    events = [json.loads(line) for line in told_of.read_text().splitlines()] if told_of.exists() else []
    if not events:
        return {"failed": told}
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
        "failed": None if last["type"] == "finished" else last["data"].get("message") or told,
    }


def home_of(recipe: Path) -> dict[str, str]:
    """The environment with a FITUNE_HOME beside the recipe, where nothing was learned yet."""
    return {**os.environ, "FITUNE_HOME": str(recipe.parent / "home")}


def longest(plan: dict[str, Any], recipe: Path, limit_s: float) -> dict[str, Any]:
    """Search, in a process of its own, for the longest rows that run with the settings of the longest plan."""
    settings = recipe.with_suffix(".json")
    settings.write_text(json.dumps(plan["set"]))
    command = [sys.executable, __file__, str(recipe.parent / "model"), "--rows-of", str(settings)]
    code, out, told = vram.ended(command, limit_s)
    lines = [line for line in out.splitlines() if line.startswith('{"promised"')]
    found = json.loads(lines[-1]) if lines else {}
    return {"predicted": plan["budget"]["total_bytes"], **found, "failed": told if code else None}


def search(settings: Path, model: Path) -> None:
    """The longest length that trains, near the promised one, in tokens: load once, try lengths. Prints what is known
    after each."""
    changes = {**json.loads(settings.read_text()), "train.max_steps": PROBE_STEPS}
    recipe = vram.recipe_of(str(model), changes)
    from fitune.core.worker.training import model_with_adapter

    model_with_adapter.prepare(recipe.train.backend)
    import torch
    from unsloth_zoo.gradient_checkpointing import reset_unsloth_gradient_checkpointing_buffers

    from fitune.core.worker.models import ModelFiles

    loaded = model_with_adapter.load(recipe, ModelFiles(model.resolve(), str(model), None))
    promised = recipe.model.max_seq_length
    tried: dict[int, bool] = {}
    reserved: list[int] = []

    def runs(length: int) -> bool:
        for module in loaded.model.modules():  # Unsloth refuses rows longer than what it loaded the model for
            if hasattr(module, "max_seq_length"):
                module.max_seq_length = length
        try:
            vram.train(vram.recipe_of(str(model), {**changes, "model.max_seq_length": length}), loaded)
            tried[length] = True
        except torch.OutOfMemoryError:
            tried[length] = False
            reset_unsloth_gradient_checkpointing_buffers()  # as it does itself after a training that ended well
        reserved.append(torch.cuda.max_memory_reserved())
        ran = max((each for each, well in tried.items() if well), default=None)
        known = {
            "promised": promised,
            "runs": tried[promised],
            "reserved": reserved[0],
            "longest": ran,
            "too_long": min((each for each, well in tried.items() if not well), default=None),
            "share": round(promised / ran, 3) if ran else None,
        }
        print(json.dumps(known), flush=True)
        return tried[length]

    narrow(promised, runs)


def narrow(promised: int, runs: Callable[[int], bool]) -> None:
    """Ask `runs` of lengths, away from the promised one until its answer changes, then between until CLOSE."""
    holds, step, low, high = runs(promised), NEAR, promised, promised
    if holds:
        while step < FARTHEST and runs(high := round(promised * (1 + step))):
            low, step = high, 2 * step
    else:
        while step < 1 and not runs(low := round(promised * (1 - step))):
            high, step = low, 2 * step
    while high - low > CLOSE * low:
        middle = (low + high) // 2
        low, high = (middle, high) if runs(middle) else (low, middle)


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
    rows.write_text("".join(json.dumps({"text": f"{number} {text}"}) + "\n" for number in range(ROWS)))
    return rows


@contextmanager
def only_free(gib: float) -> Iterator[int]:
    """Another process holds the card but for `gib`. Yields the bytes that are then free. Raises Disturbed if they are
    not the same in the end."""
    command = [sys.executable, "-c", HOLD, str(gib * GIB), str(MOVED * GIB)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    free = int(holder.stdout.readline())
    try:
        yield free
    finally:
        after = int(holder.communicate("")[0])
    if abs(after - free) > MOVED * GIB:
        said = f"{free / GIB:.2f} GiB were free, and {after / GIB:.2f} GiB in the end"
        raise Disturbed(f"{said}: something else uses the card.")


if __name__ == "__main__":
    main()
