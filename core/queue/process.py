"""The process that runs the queue: its start, which outlives the terminal, and its stop."""

import sys
import time
from dataclasses import replace

from fitune.core.at_end import OnEnd
from fitune.core.errors import ExitCode, UserError
from fitune.core.queue.entries import edit, folder, read
from fitune.core.runs.lock import holder_pid
from fitune.core.runs.spawn import WAIT_FOR_LOCK_S, last_line, start_apart

MODULE = "fitune.core.queue.runner"


def runner_pid() -> int | None:
    """The pid of the process that runs the queue; None if none does."""
    return holder_pid(folder() / "lock")


def start(on_end: OnEnd | None = None) -> None:
    """Start the process that runs the queue, unless it lives; it goes on with what was interrupted.

    on_end: what is done at the end of each entry and of all; None leaves it as it is. Raises UserError if the process
    does not come up.
    """
    edit(lambda queue: replace(queue, go_on=True, on_end=on_end or queue.on_end))
    if runner_pid() is not None:
        return
    log = folder() / "runner.log"
    # -P: a folder named fitune/ where the user stands must not shadow ours.
    apart = start_apart([sys.executable, "-P", "-m", MODULE], log, "queue")
    deadline = time.monotonic() + WAIT_FOR_LOCK_S
    while runner_pid() is None and read().go_on:  # with nothing to do it has ended by now
        if apart.has_failed and runner_pid() is None:
            raise UserError(f"The queue did not start: {last_line(log)}", f"See {log}", ExitCode.FAILED)
        if time.monotonic() > deadline:
            apart.kill()
            raise UserError("The process of the queue did not come up.", f"See {log}", ExitCode.FAILED)
        time.sleep(0.02)


def stop() -> None:
    """Let nothing more begin. The process ends at its next look; a training at work goes on."""
    edit(lambda queue: replace(queue, go_on=False))


def wants_to_go_on() -> bool:
    """True if the queue was running when its process was killed, as at a reboot."""
    return (folder() / "queue.json").exists() and read().go_on and runner_pid() is None
