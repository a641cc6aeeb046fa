"""`fitune train RECIPE`: start the run in a process of its own, then only watch it."""

import argparse
import json
import sys
from collections.abc import Callable

from fitune.core import at_end, jobs, runs
from fitune.core.at_end import OnEnd
from fitune.core.errors import ExitCode
from fitune.core.jobs import Begun
from fitune.core.recipe import Recipe, load
from fitune.core.runs import Run, RunState
from fitune.core.tokens import lengths_note
from fitune.tui.data.clear_rows import with_clear_rows
from fitune.tui.data.read import render
from fitune.tui.text import clean, gib, training_time, wrapped
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 failed, 2 bad input, 130 stopped or left running with Ctrl+C."""
    model = (
        [f"model.id={json.dumps(str(jobs.merged_model(runs.find(runs.home(), args.begin))))}"]
        if args.begin is not None
        else []
    )
    recipe = load.load(args.recipe, [*model, *args.set])
    on_end = at_end.checked(args.on_end, args.webhook)
    return start(recipe, args.yes, args.detach, args.share_gpu, args.fastest, args.accept_guess, on_end)


def base_of(name: str | None) -> list[str]:
    """The `--set` pair that makes the merged model of a run the base; none without a run. Raises UserError."""
    if name is None:
        return []
    return [f"model.id={json.dumps(str(jobs.merged_model(runs.find(runs.home(), name))))}"]


def start(
    recipe: Recipe,
    anyway: bool,
    detach: bool,
    share_gpu: bool = False,
    fastest: bool = False,
    accept_guess: bool = False,
    on_end: OnEnd | None = None,
    prepare: Callable[[Run], object] | None = None,
) -> int:
    """Start a run of a recipe, then follow it or, with `detach`, return at once. Exit status as `run`.

    fastest: count the rows' tokens first, and train by the fastest plan for them that gives the same result.
    accept_guess: take the first of several readings of the rows, which is refused without it. on_end: what is done
    when the run has ended. prepare: as `begin`.
    """
    recipe = with_clear_rows(recipe, accept_guess)
    rows = render(recipe, _announce_counting()) if fastest else None
    begun = jobs.begin(
        recipe, share_gpu=share_gpu, anyway=anyway, rows=rows, fastest=fastest, on_end=on_end, prepare=prepare
    )
    for note in (begun.backend_reason, *begun.notes, *_forecast(begun), *_plan(begun, fastest)):
        print(wrapped(clean(note), sys.stderr), file=sys.stderr)
    if detach:
        print(begun.run.name)
        print(f"Running by itself ({begun.how}). Watch it: fitune watch {begun.run.name}", file=sys.stderr)
        return ExitCode.DONE
    return follow_to_end(begun.run)


def _announce_counting() -> Callable[[Run, RunState], None]:
    """A callback that prints once that tokens are being counted."""
    printed = False

    def print_once(_: Run, state: RunState) -> None:
        nonlocal printed
        if not printed:
            printed = True
            print("Counting the tokens of the rows ...", file=sys.stderr)

    return print_once


def _plan(begun: Begun, fastest: bool) -> list[str]:
    """The fastest plan in a line: applied, or the option to apply it; nothing if it gains too little."""
    if begun.plan is None or begun.plan.proposal is None:
        return []
    changes = ", ".join(f"{name} = {value}" for name, value in begun.plan.proposal.set.items())
    if fastest:
        return [f"plan: {changes}. {begun.plan.reason}"]
    return [f"The same result by another plan, with --fastest: {begun.plan.reason} ({changes})"]


def _forecast(begun: Begun) -> list[str]:
    """The memory that the training needs beside what is free, and its time; nothing if the model is not known."""
    now = begun.forecast
    if now is None:
        return []
    of = f" of {gib(now.budget.free_bytes)}" if now.budget.free_bytes else ""
    lines = [f"memory: {gib(now.budget.total_bytes)}{of}; {lengths_note(now.work, now.decided.data.packing is True)}"]
    if now.verdict == "over":  # and started anyway
        lines.append("WARN  That does not fit: it may be ended for want of memory.")
    return [*lines, f"time: {training_time(now.duration)}"] if now.duration else lines
