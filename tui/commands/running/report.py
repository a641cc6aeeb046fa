"""`fitune report RUN`: write what a bug report needs into one file, without secrets and without rows of the data."""

import argparse
import sys
from pathlib import Path

from fitune.core import runs
from fitune.core.errors import ExitCode, UserError
from fitune.core.files import write_atomically
from fitune.core.runs.report import report
from fitune.tui.text import clean


def run(args: argparse.Namespace) -> int:
    """Write the report, or print it with --out -. Exit status 0. Raises UserError if it can't be written."""
    run = runs.find(runs.home(), args.run)
    text = report(run)
    if args.out == "-":
        print("\n".join(clean(line, 2000) for line in text.splitlines()))
        return ExitCode.DONE
    path = Path(args.out or f"{run.name}-report.txt").absolute()
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}.", "Name another with --out FILE.") from None
    print(clean(str(path)))
    print("Look at it before you send it: it holds the recipe, versions, events and the log's end.", file=sys.stderr)
    return ExitCode.DONE
