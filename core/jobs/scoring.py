"""Starts the job that scores a trained model beside its base."""

import os
import re
import sys
from pathlib import Path

from fitune.core.data import dataset
from fitune.core.deliver import ScoreRequest
from fitune.core.errors import BadInput, UserError
from fitune.core.jobs.starting import start
from fitune.core.recipe import Data
from fitune.core.runs import Run

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def score(run: Run, data: str | None = None, rows: int | None = None, share_gpu: bool = False) -> str:
    """Start the job that lets base and tuned model answer the same rows. Returns and raises as `start`.

    data: a file, a folder or a data set on the Hub; None takes the run's held-out rows. rows: at most so many.
    """
    if not run.has_adapter():
        raise run.lacks_adapter()
    if rows is not None and rows < 1:
        raise UserError(f"--rows {rows}: at least one row must be scored.")
    if rows is not None:
        rows = min(rows, sys.maxsize)  # of which there are fewer; JSON is written with no larger number
    if data is not None:
        is_here = os.path.exists(os.path.expanduser(data))
        data = str(Path(data).expanduser().absolute()) if is_here else data  # the job starts in another folder
        if is_here or not HUB_ID.fullmatch(data):
            _refuse_unclear(run.recipe().rows.in_place(data))
    return start(run, "score", share_gpu, ScoreRequest(data, rows))


def _refuse_unclear(data: Data) -> None:
    """Raise UserError for rows that can't be read, or of which it is not clear what is asked and what is right."""
    report = dataset.preview(data)
    if refused := [finding.problem for finding in report.problems if finding.severity == "stop"]:
        raise BadInput(refused)
    if not report.sure:
        hint = "Name its columns question and answer, or as those of the training rows are named."
        raise UserError(f"It is not clear what is asked and what is answered in {data.source}.", hint)
