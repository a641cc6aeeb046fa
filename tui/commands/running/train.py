"""`fitune train RECIPE`: start the run in a process of its own, then only watch it."""

import argparse
import sys

from fitune.core import jobs
from fitune.core.errors import ExitCode
from fitune.core.jobs import Begun
from fitune.core.recipe import Recipe, load
from fitune.core.tokens import lengths_note
from fitune.tui.commands.running.watch import follow_to_end
from fitune.tui.text import clean, gib


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 done, 1 failed, 2 bad input, 130 stopped or left running with Ctrl+C."""
    recipe = load.load(args.recipe, args.set)
    return start(recipe, anyway=args.yes, detach=args.detach, share_gpu=args.share_gpu)


def start(recipe: Recipe, anyway: bool, detach: bool, share_gpu: bool = False) -> int:
    """Start a run of a recipe, then follow it or, with `detach`, return at once. Exit status as `run`."""
    begun = jobs.begin(recipe, share_gpu=share_gpu, anyway=anyway)
    for note in (begun.backend_reason, *begun.notes, *_memory(begun)):
        print(clean(note), file=sys.stderr)
    if detach:
        print(begun.run.name)
        print(f"Running by itself ({begun.how}). Watch it: fitune watch {begun.run.name}", file=sys.stderr)
        return ExitCode.DONE
    return follow_to_end(begun.run)


def _memory(begun: Begun) -> list[str]:
    """What it will take, and what that is judged by; nothing where the model is not understood."""
    now = begun.forecast
    if now is None:
        return []
    of = f" of {gib(now.budget.free_bytes)}" if now.budget.free_bytes else ""
    said = f"memory: {gib(now.budget.total_bytes)}{of}; {lengths_note(now.work)}"
    is_over = now.verdict == "over"  # and wanted all the same
    return [said, "WARN  That does not fit: it may be ended for want of memory."] if is_over else [said]
