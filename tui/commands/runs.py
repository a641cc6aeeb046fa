"""`fitune runs`: every run, newest first, and how it stands."""

import argparse
import time
from typing import Any

import orjson

from core import runs
from core.runs import Run
from tui.text import clean


def run(args: argparse.Namespace) -> int:
    """Print the table, or with --json a list of objects. Exit status 0."""
    found = [describe(each) for each in runs.all_runs(runs.home())]
    if args.json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif not found:
        print("No runs yet. Start one: fitune demo")
    else:
        width = max(len(each["name"]) for each in found)
        print(f"{'RUN':<{width}}  {'STATUS':<9} {'STEP':>11}  {'LOSS':>7}  STARTED")
        for each in found:
            step = f"{each['step'] or 0}/{each['total_steps'] or '?'}"
            loss = "" if each["loss"] is None else f"{each['loss']:.3f}"
            started = time.strftime("%Y-%m-%d %H:%M", time.localtime(each["created"]))
            print(f"{clean(each['name']):<{width}}  {each['status']:<9} {step:>11}  {loss:>7}  {started}")
    return 0


def describe(run: Run) -> dict[str, Any]:
    """A run in plain numbers: {name, path, status, model, step, total_steps, loss, created, silent_s, ...}."""
    info, state = run.info(), run.state()
    return {
        "name": run.name,
        "path": str(run.path),
        "status": run.status(state),
        "phase": state.phase,
        "model": info["recipe"]["model"]["id"],
        "step": state.step.get("step"),
        "total_steps": state.total_steps,
        "loss": state.step.get("loss"),
        "created": info["created"],
        "silent_s": run.silent_s(),
        "peak_bytes": state.memory.get("peak_device"),
        "predicted_bytes": state.memory.get("predicted"),
        "checkpoint": checkpoint.name if (checkpoint := run.newest_checkpoint()) else None,
    }
