"""`fitune watch [RUN]`: follow a run from its first step to its end. Looking can't hurt it."""

import argparse
import sys

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.core.runs import Run
from fitune.tui.terminal import surface
from fitune.tui.text import clean
from fitune.tui.watch.follow import follow

EXIT_CODES = {
    "finished": ExitCode.DONE,
    "stopped": ExitCode.STOPPED,
    "failed": ExitCode.FAILED,
    "killed": ExitCode.FAILED,
}


def run(args: argparse.Namespace) -> int:
    """Exit status: how the run ended (0, 1 or 130); 130 too if it was left running with Ctrl+C. On a screen: 0."""
    run = runs.find(runs.home(), args.run)
    place = surface()
    if args.plain or place in ("plain", "none"):
        return follow_to_end(run)
    from fitune.tui.app import run_watch

    return run_watch(run, plain_glyphs=place == "basic")


def follow_to_end(run: Run, from_start: bool = True) -> int:
    """Print a run's story to stderr until it ends; Ctrl+C leaves it running and says how to come back.

    from_start: also what was told before this call.
    """
    name = clean(run.name)
    promise = "" if run.holder_pid() is None else "you can close this window, the run goes on. "
    print(f"{name}: {promise}Its folder: {clean(str(run.path))}", file=sys.stderr)
    try:
        state = follow(run, sys.stderr, from_start, live=True)
    except KeyboardInterrupt:
        print(f"\nStill running. Watch it: fitune watch {name}   Stop it: fitune stop {name}", file=sys.stderr)
        return ExitCode.STOPPED
    status = run.status(state)
    checkpoint = run.newest_checkpoint()
    unfinished = status in ("stopped", "killed") or (status == "failed" and checkpoint)
    if unfinished and (run.untold(state) or state.job) == "train":
        way = "Go on from the last checkpoint" if checkpoint else "There is no checkpoint; start it over"
        print(f"{way}: fitune resume {name}", file=sys.stderr)
    return EXIT_CODES[status]
