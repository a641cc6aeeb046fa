"""The folder of all runs: create a run, list them, find one by its name, give it another one, delete it."""

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
    path = os.path.expanduser(chosen)
    if path.startswith("~"):  # else a folder of that name would be made
        raise UserError(f"There is no home folder {chosen} here.", "Set FITUNE_HOME to a folder you can write to.")
    return Path(path).absolute()


def _data_folder() -> str:
    import platformdirs  # a tenth of what a quick command may take

    with contextlib.suppress(RuntimeError):  # without HOME, a user that the system does not know
        return platformdirs.user_data_dir("fitune")
    return "~"


def create(recipe: "Recipe", base: Path, info: RunInfo = NO_INFO) -> Run:
    """Make a private run folder under `base`/runs. Its run.json is `info` with the recipe, the name and the time.

    Raises UserError if the folder can't be made or the name is taken.
    """
    name = recipe.run.name or new_name(recipe)
    path = base / "runs" / name
    try:
        for folder in (parent for parent in (base, path.parent) if not parent.exists()):  # parents get no mode
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


def rewrite(run: Run, info: RunInfo) -> None:
    """Replace the run.json of a run that has ended, as for other cards. Raises UserError if it can't be written."""
    try:
        write_atomically(run.path / "run.json", orjson.dumps(info, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise _unwritable(run.path, error) from None


def rename(run: Run, name: str) -> Run:
    """Give a run that has ended another name. Raises UserError if it works, if the name is none or is taken, or if
    another run needs its folder."""
    from fitune.core.recipe import RUN_NAME  # pydantic: a third of what a screen would wait for

    if not re.fullmatch(RUN_NAME, name):
        raise UserError(f"{name[:40]!r} is no name for a run.", "It has letters, digits, dots, hyphens; at most 100.")
    _check_idle(run)
    if users := built_on(run):
        raise UserError(
            f"The run {users[0]} goes on from its merged model, and needs it where it is.", "Keep its name."
        )
    info, written = run.info(), (run.path / "run.json").stat()
    renamed = Run(run.path.with_name(name))
    if renamed.path.exists():
        raise UserError(f"There is a run named {name} already.", "Choose another name.")
    try:
        run.path.rename(renamed.path)
    except OSError as error:
        raise UserError(f"{run.path} can't be renamed: {error.strerror}.") from None
    rewrite(renamed, replace(info, name=name))
    os.utime(renamed.path / "run.json", ns=(written.st_atime_ns, written.st_mtime_ns))  # runs are listed by this time
    return renamed


def delete(run: Run) -> None:
    """Delete the folder of a run that has ended. Raises UserError if it works, or if a file can't be deleted."""
    _check_idle(run)
    try:
        if run.path.is_symlink():
            raise UserError(f"{run.path} is a link to another folder.", "Remove the link, and the folder, yourself.")
        (run.path / "run.json").unlink()  # first: a folder that is deleted in part is no run any more
        shutil.rmtree(run.path)
    except OSError as error:
        raise UserError(
            f"{run.path} can't be deleted: {error.strerror}.", f"See what is left: ls -la {run.path}"
        ) from None


def built_on(run: Run) -> list[str]:
    """The names of the runs that go on from the merged model of a run."""
    found = []
    for other in all_runs(run.path.parent.parent):
        with contextlib.suppress(UserError):  # a run.json that can't be read names no model
            if other.info().model.id == str(run.merged):
                found.append(other.name)
    return found


def sizes(run: Run) -> dict[str, int]:
    """Bytes of each file and folder of a run that the user may know of, and of the rest together, by its name."""
    parts = ("checkpoints", "adapter", "merged", "gguf")
    found = {name: _bytes_in(run.path / name) for name in parts if (run.path / name).is_dir()}
    return found | {"rest": _bytes_in(run.path) - sum(found.values())}


def _bytes_in(folder: Path) -> int:
    """The size of all files in a folder; one that is removed meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _check_idle(run: Run) -> None:
    if run.holder_pid() is not None:
        raise UserError(f"{run.name} is at work: {run.held_by()}.", f"Stop it first: fitune stop {run.name}")


def all_runs(base: Path) -> list[Run]:
    """Every run under `base` that may be read, newest first."""
    dated = []
    for info in (path for path in (base / "runs").glob("*/run.json") if _is_readable(path.parent)):
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed
            dated.append((info.stat().st_mtime, info.parent))
    return [Run(path) for _, path in sorted(dated, reverse=True)]


def unreadable_runs(base: Path) -> list[Path]:
    """Folders of runs that this user may not read, as after a sudo, or the folder of them all."""
    try:
        return [path for path in (base / "runs").iterdir() if path.is_dir() and not _is_readable(path)]
    except FileNotFoundError:
        return []
    except OSError:
        return [base / "runs"]


def _is_readable(path: Path) -> bool:
    """True if this user may read those files of a run that give its status; a missing one is no problem."""
    files = (path / name for name in ("run.json", "events.jsonl", "lock"))
    return os.access(path, os.R_OK | os.X_OK) and all(os.access(file, os.R_OK) or not file.exists() for file in files)


def find(base: Path, key: str | None, or_race: bool = False) -> Run:
    """The run of that name, path or unique part of a name; without a key the newest. Raises UserError.

    or_race: a race of learning rates of that name will do, too.
    """
    paths = [Path(key), *([base / "races" / key] if or_race else [])] if key else []
    by_path = [path.absolute() for path in paths if os.path.isfile(path / "run.json")]
    if by_path and _is_readable(by_path[0]):
        return Run(by_path[0])
    runs = all_runs(base)
    if closed := by_path or [path for path in unreadable_runs(base) if not runs or path.name == key]:
        raise UserError(f"You may not read all of {closed[0]}.", f"See whose it is: ls -la {closed[0]}")
    if not runs:
        raise UserError(f"There are no runs in {base / 'runs'} yet.", "Start one: fitune demo")
    if key is None:
        return runs[0]
    # An empty key, as of an unset variable of a script, must not match the only run: it would be stopped.
    matches = [run for run in runs if run.name == key] or [run for run in runs if key and key in run.name]
    if len(matches) != 1:
        problem = f"{len(matches)} runs match {key!r}" if matches else f"No run matches {key!r}"
        raise UserError(f"{problem}.", f"Runs: {', '.join(run.name for run in (matches or runs)[:8])}")
    return matches[0]


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} can't be made: {error.strerror}.", "Set FITUNE_HOME to a folder you can write to.")


def new_name(recipe: "Recipe") -> str:
    """A name for a run of a recipe that gives it none: date, model and four random digits."""
    model = re.sub(r"[^a-z0-9.]+", "-", model_name(recipe.model.id).lower()).strip("-.")[:40] or "model"
    return f"{time.strftime('%Y-%m-%d')}-{model}-{os.urandom(2).hex()}"


def model_name(model_id: str) -> str:
    """The name of a model without its owner or folder; of the merged model of a run, that of the run."""
    path = Path(model_id)
    return path.parent.name if path.name == "merged" else path.name
