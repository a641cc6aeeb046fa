"""Starts the process that waits for the end of a run: a worker that is killed can't tell anything itself."""

import sys

from fitune.core.at_end.notice import kept
from fitune.core.runs import Run
from fitune.core.runs.spawn import start_apart


def watch(run: Run) -> None:
    """Start the process that waits for the end of a run's training, if its user wants to be told."""
    if kept(run) is not None:
        command = [sys.executable, "-P", "-m", "fitune.core.at_end.watcher", str(run.path), str(run.holder_pid())]
        start_apart(command, run.path / "on_end.log", f"{run.name}-end")
