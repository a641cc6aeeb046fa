"""`fitune resume RUN`: start the worker of an ended run again; it goes on from the newest checkpoint."""

import argparse
import sys
from collections.abc import Sequence

from fitune.core import jobs, queue, runs
from fitune.core.errors import CardTaken, ExitCode, UserError
from fitune.core.recipe import changed, changes_on_resume, value_of
from fitune.core.runs import Finished, Run
from fitune.core.runs.checkpoints import choose
from fitune.core.runs.post_mortem import cause_of_death
from fitune.tui.text import clean
from fitune.tui.watch.follow import follow_to_end


def run(args: argparse.Namespace) -> int:
    """Exit status as `train`. Raises UserError if the run is alive or complete, or a setting can't change any more."""
    home = runs.home()
    if args.all:
        if args.run or args.set or args.gpus:
            raise UserError("--all takes neither a run nor changes.", "Resume that run by itself.")
        return max(resume_all(runs.all_runs(home)), resume_queue())
    if args.run is None:
        raise UserError("Which run?", "Name it, or resume all that were killed: fitune resume --all")
    run = runs.find(home, args.run)
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


def resume_all(all_runs: Sequence[Run]) -> int:
    """Resume each training that was killed or got SIGTERM, but not by `fitune stop`, the oldest first: one on a card.

    Exit status 0; 1 if one could not be resumed for another reason than a busy card.
    """
    status = ExitCode.DONE
    killed = [run for run in reversed(all_runs) if _was_training(run)]
    for run in killed:
        try:
            jobs.start(run, "train")
            print(clean(run.name))
        except UserError as error:
            print(clean(f"{run.name}: {error}", 500), file=sys.stderr)
            status = status if isinstance(error, CardTaken) else ExitCode.FAILED
    if not killed:
        print("No training was killed.", file=sys.stderr)
    return status


def resume_queue() -> int:
    """Start the queue again if its process was killed while it ran. Exit status 0, or 1 if it does not come up."""
    try:
        if queue.wants_to_go_on():
            queue.start()
            print("The queue goes on. See it: fitune queue list", file=sys.stderr)
    except UserError as error:
        print(clean(f"The queue: {error}", 500), file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.DONE


def _was_training(run: Run) -> bool:
    """True if the run's worker trained when it was killed, and nobody had asked for that."""
    try:
        status, state = run.current()
    except UserError:  # events.jsonl is no file
        return False
    trained_last = (run.silent_job(state) or state.job) == "train"
    if status == "stopped":
        return isinstance(state.end, Finished) and bool(state.end.terminated)
    return status == "killed" and trained_last and "as asked" not in (cause_of_death(run) or "")
