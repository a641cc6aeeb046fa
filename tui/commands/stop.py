"""`fitune stop RUN`: end a run, with a checkpoint unless it must be at once."""

import argparse
import sys

from core import runs


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 if the run was told to stop, 1 if it was not running."""
    run = runs.find(runs.home(), args.run)
    if run.holder_pid() is None:
        print(f"{run.name} is not running.", file=sys.stderr)
        return 1
    if args.now:
        run.kill()
        print(f"{run.name} was killed. Go on from its last checkpoint: fitune resume {run.name}", file=sys.stderr)
    else:
        run.request_stop()
        print(f"{run.name} stops after this step, with a checkpoint. At once: fitune stop --now", file=sys.stderr)
    return 0
