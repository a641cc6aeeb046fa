"""Starts the job that scores a trained model beside its base."""

import os
from pathlib import Path

from fitune.core.deliver import ScoreRequest
from fitune.core.errors import UserError
from fitune.core.jobs.starting import start
from fitune.core.runs import Run


def score(run: Run, data: str | None = None, rows: int | None = None, share_gpu: bool = False) -> str:
    """Start the job that lets base and tuned model answer the same rows. Returns and raises as `start`.

    data: a file, a folder or a data set on the Hub; None takes the run's held-out rows. rows: at most so many.
    """
    if not run.has_adapter():
        raise UserError(f"There is no {run.adapter} yet.", f"First: fitune resume {run.name}")
    if rows is not None and rows < 1:
        raise UserError(f"--rows {rows}: at least one row must be scored.")
    if data is not None and os.path.exists(os.path.expanduser(data)):
        data = str(Path(data).expanduser().absolute())  # the job starts in another folder
    return start(run, "score", share_gpu, ScoreRequest(data, rows))
