"""`fitune merge RUN`: merge base model and adapter into one proven 16-bit model folder."""

import argparse

from fitune.core import jobs, runs
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status: that of the merge, or 130 if it was left running. Raises UserError without an adapter."""
    run = runs.find(runs.home(), args.run)
    jobs.merge(run, args.base)
    return follow_to_end(run, from_start=False)
