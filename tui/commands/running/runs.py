"""`fitune runs`: every run, newest first, and how it stands."""

import argparse
import sys
from typing import Any

from fitune.core import runs
from fitune.core.errors import ExitCode, UserError
from fitune.core.runs import Run
from fitune.tui.text import as_ascii_json, clean, clock, gib, number, table
from fitune.tui.watch.ending import value

HEADINGS = ["RUN", "STATUS", "STEP", "LOSS", "MEMORY", "STARTED"]


def run(args: argparse.Namespace) -> int:
    """Print the table, or with --json a list of objects. Exit status 0."""
    home = runs.home()
    found = [describe(each) for each in runs.all_runs(home)]
    withheld = runs.withheld(home)
    for path in withheld:
        print(f"WARN  You may not read all of {clean(str(path))}", file=sys.stderr)
    if args.json:
        print(as_ascii_json(found))
    elif not found and not withheld:
        print("No runs yet. Start one: fitune demo")
    elif found:
        print(table([HEADINGS, *map(row, found)], numbers={2, 3}))
        for each in found:
            if each["problem"]:
                print(clean(f"{each['name']}: {each['problem']}"))
    return ExitCode.DONE


def row(described: dict[str, Any]) -> list[str]:
    """A run in the table."""
    created, loss = described["created"], described["loss"]
    return [
        clean(described["name"]),
        described["status"],
        f"{described['step'] or 0}/{described['total_steps'] or '?'}",
        "" if loss is None else number(loss),
        memory(described),
        clock(created) if created else "",
    ]


def memory(described: dict[str, Any]) -> str:
    """The measured peak, and how far it is from the predicted one: `7.6 GiB (+1.3 %)`; empty before it is measured."""
    peak, predicted = described["peak_bytes"], described["predicted_bytes"]
    if not peak:
        return ""
    return f"{gib(peak)} ({100 * (peak / predicted - 1):+.1f} %)" if predicted else gib(peak)


def describe(run: Run) -> dict[str, Any]:
    """A run in plain numbers: {name, path, status, model, step, total_steps, loss, created, silent_s, ...}.

    Where its run.json can't be read, `problem` says why; how it stands is known all the same.
    """
    status, state = run.look()
    created = model = problem = None
    try:
        created = value(run.info(), "created")
        model = run.recipe().model.id
    except UserError as error:
        problem = str(error)
    return {
        "name": run.name,
        "path": str(run.path),
        "status": status,
        "problem": problem,
        "phase": state.phase,
        "model": model,
        "step": state.step.get("step"),
        "total_steps": state.total_steps,
        "loss": value(state.step, "loss"),
        "created": created,
        "silent_s": run.silent_s(),
        "peak_bytes": value(state.memory, "peak_device" if "reserved" in state.memory else "peak_host"),
        "predicted_bytes": value(state.memory, "predicted"),
        "checkpoint": checkpoint.name if (checkpoint := run.newest_checkpoint()) else None,
    }
