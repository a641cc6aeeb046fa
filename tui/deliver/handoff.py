"""Hand-offs that are made at once, without a job of the worker: a folder for another tool, a zip of the adapter."""

import os
import shlex
from collections.abc import Sequence
from itertools import dropwhile, takewhile
from pathlib import Path

from fitune.core.deliver import handoff
from fitune.core.deliver.archive import pack
from fitune.core.deliver.handoff.spec import from_run
from fitune.core.runs import Run
from fitune.tui.text import size

RUN_WITH = {".py": "uv run", ".sbatch": "sbatch", ".sh": "sh"}
"""The program that runs a main file, by its suffix."""


def default_folder(run: Run, target: str) -> str:
    """The default folder for a target, in the run's folder."""
    return str(run.path / f"handoff-{target}")


def hand_off(run: Run, target: str, folder: Path) -> tuple[str, list[str]]:
    """Write a target's folder. Returns the next command, and the first comment of its main file as instructions.

    Raises UserError.
    """
    specs, folder = [from_run(run)], Path(os.path.expanduser(folder)).absolute()
    names = handoff.write(target, specs, folder)
    main, text = next(iter(handoff.files_for(target, specs).items()))
    said = instructions(text)
    command = f"{shlex.join(['cd', str(folder)])} && {next_command(main, said)}"
    return command, [f"Written into {folder}: {', '.join(names)}", "", *said, "", f"See {main}."]


def next_command(main: str, said: Sequence[str]) -> str:
    """The command to begin with: of fitune, if something is still to be made; else the first one of the instructions,
    which stand indented, or the one that runs the main file."""
    commands = [line.partition("  #")[0].strip() for line in said if line.startswith("  ")]
    missing = [command for command in commands if command.startswith("fitune ")]
    return next(iter([*missing, *commands]), f"{RUN_WITH.get(Path(main).suffix, 'cat')} {main}")


def instructions(text: str) -> list[str]:
    """The comment at the top of a file, without the lines for a shell, a scheduler or an installer."""
    lines = text.rpartition("# ///\n")[2].splitlines()
    for_people = (line for line in lines if not line.startswith(("#!", "#SBATCH")))
    comment = takewhile(lambda line: line.startswith("#"), dropwhile(lambda line: line in ("", "#"), for_people))
    return [line.removeprefix("#").removeprefix(" ") for line in comment]


def zip_up(run: Run) -> tuple[str, list[str]]:
    """Pack the adapter. Returns no command, and the file's name; `RunArtifacts.fetch` has the command that fetches it.

    Raises UserError.
    """
    path = pack(from_run(run))
    return "", [f"Packed: {path.name}, {size(path.stat().st_size)}."]
