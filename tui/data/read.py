"""Slow work on the rows, for threads and commands: read them all, and have the prepare job count their tokens."""

import time
from collections.abc import Callable

from fitune.core import jobs
from fitune.core.data import Report, dataset
from fitune.core.errors import ExitCode, LeftError, UserError
from fitune.core.recipe import Data, Recipe
from fitune.core.runs import Failed, Run, RunState
from fitune.core.tokens import STATS_FILE, TokenStats

POLL_S = 0.1


def never() -> bool:
    """`is_left` for a caller that has no other screen to go to."""
    return False


def read(
    data: Data, sample: int, report_share: Callable[[float], object], is_left: Callable[[], bool] = never
) -> Report:
    """Read all rows. report_share: is called with the share that is done. Raises LeftError once `is_left`, and as
    dataset.inspect."""

    def on_progress(done_bytes: int, total_bytes: int) -> None:
        if is_left():
            raise LeftError("")
        report_share(done_bytes / total_bytes if total_bytes else 1.0)

    return dataset.inspect(data, sample, on_progress)


def render(
    recipe: Recipe, on_state: Callable[[Run, RunState], object], is_left: Callable[[], bool] = never
) -> TokenStats:
    """The token statistics of the rows, from the prepare job, which is started if needed and awaited.

    on_state: is called ten times a second with the job's state. Ctrl+C ends the job; if the user leaves, the job goes
    on and its result is found later. Raises LeftError once `is_left`, and UserError where the job can't start or has
    failed.
    """
    while True:
        run = jobs.prepare(recipe)
        try:
            while run.holder_pid() is not None:
                if is_left():
                    raise LeftError("")
                on_state(run, run.state())
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            run.request_stop()
            raise
        if (run.path / STATS_FILE).is_file():
            return TokenStats.read(run.path)
        state = run.state()
        if run.status(state) != "stopped":  # a job that was stopped for other rows is started again for these
            raise _failure(run, state)


def _failure(run: Run, state: RunState) -> UserError:
    failed = state.end if isinstance(state.end, Failed) else None
    message = (failed and failed.message) or "The rows were not rendered to their end."
    return UserError(message, (failed and failed.hint) or f"See {run.log}", ExitCode.FAILED)
