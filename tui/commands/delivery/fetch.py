"""`fitune fetch HOST[:RUN]`: copy a run from another machine, or bring the copy up to date."""

import argparse
import sys

from fitune.core import runs
from fitune.core.deliver import fetching
from fitune.core.errors import ExitCode
from fitune.tui.text import clean, size


def run(args: argparse.Namespace) -> int:
    """Print the folder of the copy. Exit status: 0 done, 1 the copy failed, 2 no such run or host."""
    found = fetching.find(args.place)
    way = "rsync" if found.has_rsync else "scp, as rsync is not on both machines"
    print(clean(f"Copying {found.name} from {found.host} by {way} ..."), file=sys.stderr)
    copy = fetching.fetch(found, runs.home(), progress if sys.stderr.isatty() else lambda _: None)
    name = clean(copy.name)
    print(clean(str(copy.path)))
    held = sum(runs.sizes(copy).values())
    print(f"{name}: {size(held)}. Look at it: fitune watch {name}", file=sys.stderr)
    if copy.holder_pid() is not None:
        print(f"It is still at work there. For what comes, again: fitune fetch {clean(args.place)}", file=sys.stderr)
    return ExitCode.DONE


def progress(line: str) -> None:
    """Rewrite the line that says how far the copy is."""
    print(f"\r{clean(line, 70):<70}\r", end="", file=sys.stderr, flush=True)
