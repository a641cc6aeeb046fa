"""Starts the race of learning rates on the recipe's own rows."""

import os
import shutil
import time

import orjson

from fitune.core import runs
from fitune.core.data import dataset, holds_out
from fitune.core.deliver import RaceRequest
from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.forecast import resolve
from fitune.core.jobs.starting import start
from fitune.core.jobs.training import foresee, gpu_info, with_decisions
from fitune.core.machine import host, require_training_stack
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, RunInfo
from fitune.core.score import race


def go_on(raced: Run, run: Run) -> int | None:
    """Give a new run the checkpoint of the race's winner. Returns the step that it goes on from; None if the race kept
    none, or if the run is another training than the race's."""
    checkpoint, recipe = raced.newest_checkpoint(), run.recipe()
    same = raced.recipe().model_copy(update={"run": recipe.run, "deliver": recipe.deliver})
    same = same.model_copy(update={"train": same.train.model_copy(update={"lr": recipe.train.lr})})
    if checkpoint is None or same != recipe:
        return None
    shutil.copytree(checkpoint, run.checkpoints / checkpoint.name)
    return int(checkpoint.name.partition("-")[2])


def tune_lr(recipe: Recipe, minutes: float, share_gpu: bool = False) -> Run:
    """Start the race in a folder of its own under races/, which is like that of a run. Raises UserError as `begin`.

    minutes: that the trainings of the race may take together.
    """
    require_training_stack()
    if not minutes > 0:
        raise UserError(f"--minutes {minutes:g}: the race needs some time.")
    if not recipe.data.eval_fraction:
        raise UserError("data.eval_fraction = 0: a race needs held-out rows to judge by.", 'Set it to "auto".')
    _refuse_too_few(recipe)
    base = runs.home(recipe.run.home)
    machine = host.detect(base / "runs")
    resolved = resolve(recipe, machine)
    resolved = with_decisions(resolved, foresee(resolved, machine, base))
    name = f"{time.strftime('%Y-%m-%d')}-{os.urandom(3).hex()}"
    run = Run(base / "races" / name)
    info = RunInfo(
        name=name,
        created=time.time(),
        gpu=gpu_info(resolved.gpu) if resolved.gpu else None,
        cpu=machine.cpu_name,
        backend_reason=resolved.backend_reason,
        notes=resolved.notes,
        versions={"python": machine.python_version, **machine.versions},
        recipe=resolved.recipe.model_dump(mode="json"),
    )
    try:
        run.path.mkdir(mode=0o700, parents=True)
        (base / "runs").mkdir(mode=0o700, exist_ok=True)
        write_atomically(run.path / "run.json", orjson.dumps(info, option=orjson.OPT_INDENT_2))
    except OSError as error:
        hint = "Set FITUNE_HOME to a folder you can write to."
        raise UserError(f"{run.path} can't be made: {error.strerror}.", hint) from None
    start(run, "tune-lr", share_gpu, RaceRequest(60 * minutes))
    return run


def _refuse_too_few(recipe: Recipe) -> None:
    """Raise UserError where none of the rows on this disk are held out; of others the job finds out."""
    data = recipe.rows
    if not all(os.path.exists(os.path.expanduser(part.source)) for part, _ in data.parts()):
        return
    report = dataset.preview(data)
    if report.can_train and report.rows_counted and not holds_out(recipe, report.rows):
        raise UserError(*race.NO_ROWS)
