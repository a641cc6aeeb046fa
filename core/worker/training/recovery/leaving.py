"""The two ways out of a training before its end: stop at once, and start the worker anew with other settings."""

import os
import sys
import threading
from typing import Never

from fitune.core.runs import Run

terminated = threading.Event()
"""Set by SIGTERM: whoever sends it kills soon (a rented machine after 30 s), and a step may take longer."""


class StopNow(Exception):
    """The training stops within a step: its weights are those of the step before, and are saved."""


class Restart(Exception):
    """The worker starts anew, with the changes that were written into the run, from the newest checkpoint."""


def restart(run: Run, job: str, lock: int) -> Never:
    """Replace this process by a new worker with the same pid: memory that was stranded is free, and the lock is kept.

    lock: the descriptor of the run's lock.
    """
    os.set_inheritable(lock, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "fitune.core.worker", str(run.path), job])
