"""`fitune runs compare A B C`: the different settings of runs, and their results."""

import argparse
from dataclasses import asdict

from fitune.core import runs
from fitune.core.errors import ExitCode, UserError
from fitune.tui.home.comparison import as_table, compared
from fitune.tui.text import as_ascii_json


def run(args: argparse.Namespace) -> int:
    """Print them side by side, or with --json {"runs", "settings", "results"}. Exit status 0."""
    home = runs.home()
    if len(args.runs) < 2:
        raise UserError("One run is not compared with anything.", "Name two or more.")
    found = [runs.find(home, name) for name in args.runs]
    twice = next(
        (run.name for place, run in enumerate(found) if run.path in {each.path for each in found[:place]}), None
    )
    if twice is not None:
        raise UserError(f"{twice} is named twice.", "Name two or more runs.")
    document = compared(found)
    print(as_ascii_json(asdict(document)) if args.json else as_table(document))
    return ExitCode.DONE
