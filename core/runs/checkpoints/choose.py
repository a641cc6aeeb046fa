"""The checkpoint that a resume continues from: the newest that is whole; damaged ones are passed over."""

import re
from dataclasses import dataclass
from pathlib import Path

from fitune.core.runs.checkpoints.verify import flaw_of, lost_state

MOST_DIGITS = 12
"""A longer number is no step."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The checkpoint to continue from, and what is wrong with it and those that were passed over."""

    checkpoint: Path | None
    """None if there is none that is usable."""
    lost: tuple[str, ...] = ()
    """What it has lost beside its weights, in words."""
    damaged: tuple[tuple[Path, str], ...] = ()
    """Newer ones that can't be used, each with the reason as a sentence."""


def numbered(folder: Path) -> list[Path]:
    """The checkpoints in a folder by their names, newest first. They were renamed into place, but may be damaged."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    steps = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in paths}
    return sorted((path for path in paths if steps[path]), key=lambda path: int(path.name[11:]), reverse=True)


def choose(folder: Path) -> Choice:
    """The newest whole checkpoint; if none is, the newest that has at least its weights. Reads each file it judges."""
    damaged: list[tuple[Path, str]] = []
    partial: Choice | None = None
    for path in numbered(folder):
        flaw = "That is no number of a step." if len(path.name) > 11 + MOST_DIGITS else flaw_of(path)
        if flaw:
            damaged.append((path, flaw))
        elif not (lost := tuple(lost_state(path))):
            if partial and partial.checkpoint:
                damaged.append((partial.checkpoint, f"It has lost {' and '.join(partial.lost)}."))
            return Choice(path, (), tuple(damaged))
        else:
            partial = partial or Choice(path, lost)
    return Choice(partial.checkpoint, partial.lost, tuple(damaged)) if partial else Choice(None, (), tuple(damaged))


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that nothing takes it for one. Returns its new path. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return path.rename(aside)
