"""Starts the job that renders every row into tokens."""

import time

import orjson

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.jobs.starting import start
from fitune.core.recipe import Recipe
from fitune.core.runs import Run, RunInfo
from fitune.core.tokens import STATS_FILE, cache


def prepare(recipe: Recipe) -> Run:
    """The run-like folder of the job that renders every row; the job is started unless it is done or under way.

    Once it has finished, `TokenStats.read(run.path)` is its answer. Raises UserError where the data can't
    be found or reached, and as `start`.
    """
    recipe, base = cache.with_absolute_paths(recipe), runs.home(recipe.run.home)
    key = cache.key(recipe)
    run = Run(cache.folder(key, base))
    if _is_prepared(run):
        return run
    info = RunInfo(name=run.name, created=time.time(), key=key, recipe=recipe.model_dump(mode="json"))
    try:
        for folder in (each for each in (base, run.path.parent, run.path) if not each.exists()):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(run.path / "run.json", orjson.dumps(info, option=orjson.OPT_INDENT_2))
    except OSError as error:
        hint = "Set FITUNE_HOME to a folder you can write to."
        raise UserError(f"{run.path} can't be made: {error.strerror}.", hint) from None
    cache.prune(base)
    try:
        start(run, "prepare", share_gpu=True)  # it computes on the CPU
    except UserError:
        if not _is_prepared(run):  # else somebody else asked at the same moment
            raise
    return run


def _is_prepared(run: Run) -> bool:
    """True if the job that renders the rows is done, or under way."""
    return (run.path / STATS_FILE).is_file() or run.holder_pid() is not None
