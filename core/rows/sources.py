"""Where the rows lie: a file, a folder of them, or a data set on the Hub, as a list of files to open."""

import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.rows.streams import BUFFER_BYTES, READABLE, SUFFIXES, UNREADABLE, suffix_of

SPLITS = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file with rows."""

    name: str
    """As errors call it: the path that was given, or the path in the folder or repository."""
    size_bytes: int
    stamp: str
    """What changes when its content does: its time, or the commit it is of on the Hub."""
    fetch: Callable[[], Path]
    """Where it lies on this machine; fetches it first where it lies on the Hub."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files that make up a data set."""

    name: str
    files: tuple[SourceFile, ...]
    ignored: tuple[str, ...] = ()
    """Files beside them that were left out: another split, a README, an unknown kind."""


def find(source: str, split: str) -> Source:
    """The files of a source, in the order they are read. split: which one, where the files' names tell splits apart.

    Raises UserError where there is nothing to read, or it can't be reached.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(source, path, split)
    if path.exists():
        return Source(source, (_local(path, path.name),))
    if is_on_hub(source):
        from core.rows.hub import find_on_hub

        return find_on_hub(source, split)
    hint = "Check the spelling; a data set on the Hub is written as owner/name."
    raise UserError(f"There is no file or folder {source}.", hint)


def is_on_hub(source: str) -> bool:
    """Whether this is the name of a data set on the Hub, owner/name, and nothing of the name lies here."""
    named = re.fullmatch(r"[\w.-]+/[\w.-]+(/[\w.-]+)?", source) is not None
    return named and suffix_of(source) not in {*SUFFIXES, *UNREADABLE} - {""} and not Path(source).exists()


def opened(file: SourceFile) -> io.BufferedReader:
    """The file, opened for reading its bytes. Raises UserError where it can't be opened."""
    path = file.fetch()
    try:
        if not path.is_file():
            raise UserError(f"{file.name} is not a regular file.", "Name a file or a folder.")
        return io.BufferedReader(io.FileIO(path), BUFFER_BYTES)
    except PermissionError:
        raise UserError(f"{file.name} may not be read by you.", f"Ask its owner, or: chmod u+r {file.name}") from None
    except OSError as error:
        raise UserError(f"{file.name} can't be opened: {error.strerror}.", "Check the path.") from None


def _local(path: Path, name: str) -> SourceFile:
    found = path.stat()
    return SourceFile(name, found.st_size, str(found.st_mtime_ns), lambda: path)


def _folder(source: str, folder: Path, split: str) -> Source:
    try:
        paths = sorted(path for path in _walk(folder) if path.is_file())
    except OSError as error:
        raise UserError(f"{error.filename} can't be listed: {error.strerror}.", "Check its permissions.") from None
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    chosen = of_split(readable(names, source), split, source)
    return Source(
        source,
        tuple(_local(names[name], name) for name in chosen),
        tuple(name for name in names if name not in set(chosen)),
    )


def _walk(folder: Path) -> Iterable[Path]:
    def stop(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def readable(names: Iterable[str], source: str) -> list[str]:
    """Of these files the ones with rows, sorted. Text counts only where there is nothing else.

    Raises UserError where there are none.
    """
    names = sorted(names)
    kinds = {name: SUFFIXES.get(suffix_of(name)) if suffix_of(name) else None for name in names}
    tables = [name for name, kind in kinds.items() if kind and kind != "text" and not _is_about(name)]
    texts = [name for name, kind in kinds.items() if kind == "text" and not _is_about(name)]
    if not (tables or texts):
        seen = ", ".join(names[:5]) or "nothing"
        hint = next((UNREADABLE[suffix_of(name)] for name in names if suffix_of(name) in UNREADABLE), READABLE)
        raise UserError(f"{source} holds no file that fitune reads; it holds {seen}.", hint)
    return tables or texts


def _is_about(name: str) -> bool:
    """Files that speak about a data set."""
    stem = Path(name).name.lower().split(".")[0]
    return stem in ("readme", "license", "dataset_info", "dataset_infos", "dataset_dict", "state", "metadata", "config")


def of_split(names: Sequence[str], split: str, source: str) -> list[str]:
    """The files of a split, told by a word in their paths; unmarked files are for training.

    Raises UserError where there are splits, but not this one.
    """
    if mine := [name for name in names if _has_word(name, split)]:
        return mine
    others = sorted({word for word in SPLITS for name in names if _has_word(name, word)})
    if not others:
        return list(names)
    unmarked = [name for name in names if not any(_has_word(name, word) for word in SPLITS)]
    if unmarked and split == "train":
        return unmarked
    raise UserError(f"{source} has no split {split}; it has {', '.join(others)}.", f'Set data.split = "{others[0]}".')


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word.lower())}(?![a-z])", name.lower()) is not None
