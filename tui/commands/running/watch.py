"""`fitune watch [RUN]`: follow a run to its end, without any effect on it."""

import argparse

from fitune.core import runs
from fitune.tui.terminal import surface
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status: how the run ended (0, 1 or 130); 130 too if it was left running with Ctrl+C. On a screen: 0."""
    run = runs.find(runs.home(), args.run, or_race=True)
    terminal = surface()
    is_race = (run.path / "tune-lr.json").is_file()  # several trainings, for which there is no screen
    if args.plain or is_race or terminal in ("plain", "none"):
        return follow_to_end(run)
    from fitune.tui.app import run_watch

    return run_watch(run, plain_glyphs=terminal == "basic")
