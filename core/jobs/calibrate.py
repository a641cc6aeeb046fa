"""A short training on made-up full-length rows: it leaves its line in learned.jsonl like any other, and is removed."""

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fitune.core.errors import ExitCode, UserError
from fitune.core.forecast import history
from fitune.core.jobs.training import begin
from fitune.core.recipe import Data, Deliver, Recipe
from fitune.core.runs import Failed, Phase, Run, Tail, fold

STEPS = 3
"""Optimizer states appear in the first step, so the second is the first true peak; the third makes a median of two."""
MOST_ACCUMULATED = 2
"""From the second micro-batch on a step holds all it will."""
NO_ROOM = "So it does not fit. What does: fitune fit RECIPE"
POLL_S = 0.2


def calibrate(recipe: Recipe, tell: Callable[[str], None]) -> bool:
    """Measure what a recipe takes on this machine; whether something was learned. Takes a minute or two.

    tell: gets each phase's name as it begins. Raises UserError, with the diagnosis where the training failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        probe = probe_of(recipe, rows)
        write_rows(rows, probe)
        run = begin(probe, anyway=True).run
        try:
            _wait(run, tell)
            return any(each.run == run.name for each in history.read_all(run.path.parent.parent))
        finally:
            _remove(run)


def probe_of(recipe: Recipe, rows: Path) -> Recipe:
    """The recipe as a training of STEPS steps on a file of rows: no look at held-out rows, no tracker, no delivery."""
    train = recipe.train
    changes = {
        "max_steps": STEPS,
        "grad_accum": min(train.grad_accum, MOST_ACCUMULATED),
        "eval_every": None,
        "save_every": None,
        "report_to": "none",
        "lr": 1e-6,
    }
    return recipe.model_copy(
        update={
            "data": Data(source=str(rows), format="text", eval_fraction=0, packing=recipe.data.packing),
            "train": train.model_copy(update=changes),
            "run": recipe.run.model_copy(update={"name": f"calibration-{secrets.token_hex(3)}"}),
            "deliver": Deliver(),
        }
    )


def write_rows(path: Path, probe: Recipe) -> None:
    """As many rows as the steps take, each of more words than a row may have tokens."""
    text = "word " * (probe.model.max_seq_length + 1)
    count = STEPS * probe.train.micro_batch * probe.train.grad_accum
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"text": f"{number} {text}"}) + "\n")


def _wait(run: Run, tell: Callable[[str], None]) -> None:
    """Until the worker is gone. Raises UserError if it did not finish."""
    tail, state = Tail(run.events), None
    while True:
        alive = run.holder_pid() is not None  # asked before reading: what a dead worker wrote is all there
        for event in tail.read():
            state = fold([event], state)
            if isinstance(event.data, Phase):
                tell(state.phase.name)
        if not alive:
            break
        time.sleep(POLL_S)
    end = state.end if state else None
    if end is None:
        raise UserError("The training that was to measure was killed.", f"See {run.log}", exit_code=ExitCode.FAILED)
    if isinstance(end, Failed):
        said = f"The training that was to measure failed: {end.message}"
        hint = end.hint.replace("fitune resume", "the same command")  # there is no run to resume
        hint = NO_ROOM if end.kind == "oom" else hint
        raise UserError(said, hint, exit_code=ExitCode.FAILED)


def _remove(run: Run) -> None:
    """End the worker if it lives still, and remove the run."""
    run.kill()
    run.wait_for_end()
    shutil.rmtree(run.path, ignore_errors=True)
