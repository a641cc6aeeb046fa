"""`fitune runs compare A B`: the different settings of two runs, and their results."""

import argparse
from dataclasses import asdict

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.tui.home.comparison import as_table, compared
from fitune.tui.text import as_ascii_json


def run(args: argparse.Namespace) -> int:
    """Print both side by side, or with --json {"runs", "settings", "results"}. Exit status 0."""
    home = runs.home()
    one, other = (runs.find(home, name) for name in args.runs)
    document = compared(one, other)
    print(as_ascii_json(asdict(document)) if args.json else as_table(document))
    return ExitCode.DONE
