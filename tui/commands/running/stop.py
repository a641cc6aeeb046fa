"""`fitune stop RUN`: stop a run's job after its current step, or kill it at once."""

import argparse
import sys

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.core.runs import Run
from fitune.tui.text import clean
from fitune.tui.watch.ending import repeat_command


def run(args: argparse.Namespace) -> int:
    """Exit status: 0 if the worker was asked to stop, 1 if none was alive."""
    run = runs.find(runs.home(), args.run, or_race=True)
    job = run.job()
    if job is None:
        message = f"{run.name} is not running."
    elif not args.now and run.state().is_past_training:
        message = f"{run.name} has taken its last step, and ends by itself. At once: fitune stop {run.name} --now"
    elif args.now:
        message = killed(run, job) if run.kill() else f"{run.name} came to its end meanwhile."
        run.wait_for_end()  # so that a script which asks next sees the end
    else:
        run.request_stop()
        message = stopping(run, job)
    print(clean(message, 1000), file=sys.stderr)
    return ExitCode.FAILED if job is None else ExitCode.DONE


def stopping(run: Run, job: str) -> str:
    """The message after a request to stop."""
    at_once = f"At once: fitune stop {run.name} --now"
    if job == "train":
        return f"{run.name} stops after this step, with a checkpoint. {at_once}"
    if job == "push":
        return f"The push of {run.name} stops before its next file; nothing of it is visible then. {at_once}"
    if job == "tune-lr":
        return f"The race {run.name} stops after this step, without a result. {at_once}"
    return f"The {job} of {run.name} stops before its next part, if one is left; the adapter stays as it is. {at_once}"


def killed(run: Run, job: str) -> str:
    """The message after a kill, with the next step."""
    if job == "tune-lr":
        return f"The race {run.name} was killed. Start it again with its recipe."
    if job != "train":
        return f"The {job} of {run.name} was killed; the adapter is as it was. Again: {repeat_command(run, job)}"
    checkpoint = run.newest_checkpoint()
    next_step = (
        f"Go on from its last checkpoint, {checkpoint.name}" if checkpoint else "It had no checkpoint; start it over"
    )
    return f"{run.name} was killed. {next_step}: fitune resume {run.name}"
