"""All runs of this user: the folder they lie in, a new one, the list, and one found by its name."""

import contextlib
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from fitune.core.errors import UserError
from fitune.core.files import write_atomically
from fitune.core.runs.info import RunInfo
from fitune.core.runs.run import Run

if TYPE_CHECKING:
    from fitune.core.recipe import Recipe

NO_INFO = RunInfo()


def home(override: str | None = None) -> Path:
    """The folder of all fitune data: `override`, else $FITUNE_HOME, else the XDG data folder. Raises UserError."""
    chosen = override or os.environ.get("FITUNE_HOME") or _data_folder()
    place = os.path.expanduser(chosen)
    if place.startswith("~"):  # else a folder of that name would be made
        raise UserError(f"There is no home folder {chosen} here.", "Set FITUNE_HOME to a folder you can write to.")
    return Path(place).absolute()


def _data_folder() -> str:
    import platformdirs  # a tenth of what a quick command may take

    with contextlib.suppress(RuntimeError):  # without HOME, a user that the system does not know
        return platformdirs.user_data_dir("fitune")
    return "~"


def create(recipe: "Recipe", base: Path, info: RunInfo = NO_INFO) -> Run:
    """Make a private run folder under `base`/runs with its run.json, of `info` with the recipe, its name and the time.

    Raises UserError if the folder can't be made or the name is taken.
    """
    name = recipe.run.name or _new_name(recipe)
    path = base / "runs" / name
    try:
        for folder in (each for each in (base, path.parent) if not each.exists()):  # each, or the umask has its way
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_dir():
            raise UserError(
                f"There is a run named {name} already.", f"Choose another name, or: fitune resume {name}"
            ) from None
        raise _unwritable(path, error) from None
    content = replace(info, name=name, created=time.time(), recipe=recipe.model_dump(mode="json"))
    try:
        write_atomically(path / "run.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    except OSError as error:
        shutil.rmtree(path)
        raise _unwritable(path, error) from None
    return Run(path)


def all_runs(base: Path) -> list[Run]:
    """Every run under `base` that may be read, newest first."""
    dated = []
    for info in (each for each in (base / "runs").glob("*/run.json") if _may_be_read(each.parent)):
        with contextlib.suppress(FileNotFoundError):  # removed between the two looks
            dated.append((info.stat().st_mtime, info.parent))
    return [Run(path) for _, path in sorted(dated, reverse=True)]


def withheld(base: Path) -> list[Path]:
    """What `all_runs` can't see: folders of runs that another user owns, as after a sudo, or the folder of them all."""
    try:
        return [path for path in (base / "runs").iterdir() if path.is_dir() and not _may_be_read(path)]
    except FileNotFoundError:
        return []
    except OSError:
        return [base / "runs"]


def _may_be_read(path: Path) -> bool:
    """Whether this user may read what says how a run stands; what is not there is no hindrance."""
    told = (path / name for name in ("run.json", "events.jsonl", "lock"))
    return os.access(path, os.R_OK | os.X_OK) and all(os.access(each, os.R_OK) or not each.exists() for each in told)


def find(base: Path, key: str | None) -> Run:
    """The run of that name, path or unique part of a name; without a key the newest. Raises UserError."""
    by_path = [Path(key).absolute()] if key and os.path.isfile(os.path.join(key, "run.json")) else []
    if by_path and _may_be_read(by_path[0]):
        return Run(by_path[0])
    runs = all_runs(base)
    if closed := by_path or [path for path in withheld(base) if not runs or path.name == key]:
        raise UserError(f"You may not read all of {closed[0]}.", f"See whose it is: ls -la {closed[0]}")
    if not runs:
        raise UserError(f"There are no runs in {base / 'runs'} yet.", "Start one: fitune demo")
    if key is None:
        return runs[0]
    # A script's unset variable is no part of a name: it would stop the one run there is.
    matches = [run for run in runs if run.name == key] or [run for run in runs if key and key in run.name]
    if len(matches) != 1:
        said = f"{len(matches)} runs match {key!r}" if matches else f"No run matches {key!r}"
        raise UserError(f"{said}.", f"Runs: {', '.join(run.name for run in (matches or runs)[:8])}")
    return matches[0]


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} can't be made: {error.strerror}.", "Set FITUNE_HOME to a folder you can write to.")


def _new_name(recipe: "Recipe") -> str:
    model = re.sub(r"[^a-z0-9.]+", "-", Path(recipe.model.id).name.lower()).strip("-.")[:40] or "model"
    return f"{time.strftime('%Y-%m-%d')}-{model}-{os.urandom(2).hex()}"
