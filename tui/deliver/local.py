"""What is made at once, without a job of the worker: a folder for another tool, and the adapter as one file."""

import os
import shlex
from itertools import dropwhile, takewhile
from pathlib import Path

from fitune.core.deliver import handoff
from fitune.core.deliver.archive import pack
from fitune.core.deliver.handoff.spec import from_run
from fitune.core.runs import Run
from fitune.tui.text import size


def proposed(run: Run, target: str) -> str:
    """The folder for a target beside the run's own files."""
    return str(run.path / f"handoff-{target}")


def hand_off(run: Run, target: str, folder: Path) -> list[str]:
    """Write a target's folder. Returns what to do with it: the first comment of its main file. Raises UserError."""
    jobs, folder = [from_run(run)], Path(os.path.expanduser(folder)).absolute()
    names = handoff.write(target, jobs, folder)
    main, text = next(iter(handoff.files_for(target, jobs).items()))
    there = shlex.join(["cd", str(folder)])
    return [f"Written into {folder}: {', '.join(names)}", "", there, *instructions(text), "", f"See {main}."]


def instructions(text: str) -> list[str]:
    """The comment on top of a file, without what is there for a shell, a scheduler or an installer."""
    lines = text.rpartition("# ///\n")[2].splitlines()
    for_people = (line for line in lines if not line.startswith(("#!", "#SBATCH")))
    comment = takewhile(lambda line: line.startswith("#"), dropwhile(lambda line: line in ("", "#"), for_people))
    return [line.removeprefix("#").removeprefix(" ") for line in comment]


def zip_up(run: Run) -> list[str]:
    """Pack the adapter. Returns where it is; `Facts.fetch` says how to fetch it. Raises UserError."""
    path = pack(from_run(run))
    return [f"Packed: {path.name}, {size(path.stat().st_size)}."]
