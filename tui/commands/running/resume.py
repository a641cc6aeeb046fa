"""`fitune resume RUN`: start the worker of an ended run again; it goes on from the newest checkpoint."""

import argparse
import sys

from fitune.core import jobs, runs
from fitune.core.errors import ExitCode, UserError
from fitune.core.recipe import changed, changes_on_resume, value_of
from fitune.core.runs.checkpoints import choose
from fitune.tui.text import clean
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status as `train`. Raises UserError if the run is alive or complete, or a setting can't change any more."""
    run = runs.find(runs.home(), args.run)
    recipe = run.recipe()  # one that can't be read is told here, and not by a worker after half a minute
    if run.state().trained and run.has_adapter():  # a removed adapter is made again from the last checkpoint
        raise UserError(f"{run.name} has finished.", f"Its adapter is in {run.adapter}")
    checkpoint = choose(run.checkpoints).checkpoint
    changes = changes_on_resume(recipe, args.set, checkpoint is not None)
    if args.gpus is not None:
        changes = jobs.move(run, changed(recipe, changes), args.gpus)
    how = jobs.start(run, "train", share_gpu=args.share_gpu, changes=changes)
    print(f"Going on from {checkpoint.name if checkpoint else 'the start: there is no checkpoint'}.", file=sys.stderr)
    for name, value in changes.items():
        print(clean(f"{name} = {value} (was {value_of(recipe, name)})"), file=sys.stderr)
    if args.detach:
        name = clean(run.name)
        print(name)
        print(f"Running by itself ({how}). Watch it: fitune watch {name}", file=sys.stderr)
        return ExitCode.DONE
    return follow_to_end(run)
