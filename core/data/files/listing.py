"""The files of a data set: by their names, those that hold rows, and their split."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fitune.core.data.files.streams import READABLE, SUFFIXES, UNREADABLE, suffix_of
from fitune.core.errors import UserError

SPLITS = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")

IMAGES_OF = "metadata"
"""The table in a folder of images, as the Hub has it; beside other tables it speaks about them."""
ABOUT = {
    "readme", "license", "dataset_info", "dataset_infos", "dataset_dict", "state", "config", "requirements", "package",
    "package-lock", "tsconfig", IMAGES_OF,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file with rows."""

    name: str
    """As errors call it: the path that was given, or the path in the folder or repository."""
    size_bytes: int
    stamp: str
    """A mark that changes with its content: its time, or its commit on the Hub."""
    fetch: Callable[[], Path]
    """Gives its path on this machine; fetches it from the Hub first."""
    member: str = ""
    """Its name in the zip archive that lies there; empty if it is no archive."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files that make up a data set."""

    name: str
    files: tuple[SourceFile, ...]
    ignored: tuple[str, ...] = ()
    """Files beside them that were left out: another split, a README, an unknown kind."""


def readable(names: Iterable[str], source: str) -> list[str]:
    """Of these files the ones with rows, sorted. Text counts only where there is nothing else.

    Raises UserError where there are none.
    """
    names = sorted(names)
    kinds = {name: SUFFIXES.get(suffix_of(name)) if suffix_of(name) else None for name in names}
    tables = [name for name, kind in kinds.items() if kind and kind != "text" and not _is_about(name)]
    tables = tables or [name for name, kind in kinds.items() if kind and kind != "text" and _stem(name) == IMAGES_OF]
    texts = [name for name, kind in kinds.items() if kind == "text" and not _is_about(name)]
    if not (tables or texts):
        seen = ", ".join(names[:5]) or "nothing"
        hint = next((UNREADABLE[suffix_of(name)] for name in names if suffix_of(name) in UNREADABLE), READABLE)
        raise UserError(f"{source} holds no file that fitune reads; it holds {seen}.", hint)
    return tables or texts


def _is_about(name: str) -> bool:
    """Files that speak about a data set or a program, and the locks of Office."""
    return _stem(name) in ABOUT or Path(name).name.startswith("~$")


def _stem(name: str) -> str:
    return Path(name).name.lower().split(".")[0]


def of_split(names: Sequence[str], split: str, source: str) -> list[str]:
    """The files of a split, known by a word in their paths; unmarked files are for training.

    Raises UserError where there are splits, but not this one.
    """
    if mine := [name for name in names if _has_word(name, split)]:
        return mine
    others = sorted({marked for name in names if (marked := split_of(name))})
    if not others:
        return list(names)
    unmarked = [name for name in names if not split_of(name)]
    if unmarked and split == "train":
        return unmarked
    raise UserError(f"{source} has no split {split}; it has {', '.join(others)}.", f'Set data.split = "{others[0]}".')


def split_of(name: str) -> str | None:
    """The split that a word in a file's path tells; None for an unmarked file."""
    return next((word for word in SPLITS if _has_word(name, word)), None)


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word.lower())}(?![a-z])", name.lower()) is not None
