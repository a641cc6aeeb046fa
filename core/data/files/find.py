"""Find the files with the rows: a file, a folder of them, or a data set on the Hub."""

import io
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from fitune.core.data.files.hub import find_on_hub
from fitune.core.data.files.listing import Source, SourceFile, of_split, readable
from fitune.core.data.files.streams import (
    BUFFER_BYTES,
    HEAD_BYTES,
    SUFFIXES,
    UNREADABLE,
    refuse_empty,
    refuse_placeholder,
    suffix_of,
)
from fitune.core.errors import UserError


def find(source: str, split: str) -> Source:
    """The files of a source, in the order they are read. split: which one, where the files' names tell splits apart.

    Raises UserError where there is nothing to read, or it can't be reached.
    """
    path = Path(os.path.expanduser(source))
    try:
        if path.is_dir():
            return _folder(source, path, split)
        if path.suffix.lower() == ".zip":
            return _archive(source, path, split)
        if path.exists():
            return Source(source, (_local(path, path.name),))
    except OSError as error:
        raise UserError(f"{source} can't be reached: {error.strerror}.", "Check the path.") from None
    if is_on_hub(source):
        return find_on_hub(source, split)
    hint = "Check the spelling; a data set on the Hub is written as owner/name."
    raise UserError(f"There is no file or folder {source}.", hint)


def is_on_hub(source: str) -> bool:
    """True if this is the name of a data set on the Hub, owner/name, and nothing of the name lies here."""
    named = re.fullmatch(r"[\w.-]+/[\w.-]+(/[\w.-]+)?", source) is not None
    return named and suffix_of(source) not in {*SUFFIXES, *UNREADABLE} - {""} and not os.path.exists(source)


def is_missing(source: str) -> bool:
    """True if this can only be a path, and nothing lies there."""
    return not os.path.exists(os.path.expanduser(source)) and not is_on_hub(source)


def opened(file: SourceFile) -> io.BufferedReader:
    """The file, opened for reading its bytes. Raises UserError where it can't be opened."""
    path = file.fetch()
    try:
        if not path.is_file():
            raise UserError(f"{file.name} is not a regular file.", "Name a file or a folder.")
        if file.member:
            return io.BufferedReader(zipfile.ZipFile(path).open(file.member), BUFFER_BYTES)  # type: ignore[arg-type]
        return io.BufferedReader(io.FileIO(path), BUFFER_BYTES)
    except PermissionError:
        raise UserError(f"{file.name} may not be read by you.", f"Ask its owner, or: chmod u+r {file.name}") from None
    except OSError as error:
        raise UserError(f"{file.name} can't be opened: {error.strerror}.", "Check the path.") from None
    except (zipfile.BadZipFile, NotImplementedError) as error:  # damaged, or packed in a way that Python does not know
        raise UserError(f"{file.name} can't be unpacked: {error}.", UNREADABLE[".zip"]) from None


def _local(path: Path, name: str) -> SourceFile:
    found = path.stat()
    return SourceFile(name, found.st_size, str(found.st_mtime_ns), lambda: path)


def _archive(source: str, path: Path, split: str) -> Source:
    """The files in a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {each.filename: each for each in archive.infolist() if not each.is_dir()}
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        refuse_empty(path.name, head)
        if not head.startswith(b"PK"):
            refuse_placeholder(path.name, head)
        raise UserError(f"{source} is not a whole zip archive.", "Fetch it again. " + UNREADABLE[".zip"]) from None
    if any(each.flag_bits & 1 for each in members.values()):
        raise UserError(f"{source} is locked with a password.", UNREADABLE[".zip"])
    shown = [name for name in members if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
    chosen = of_split(readable(shown, source), split, source)
    stamp = str(path.stat().st_mtime_ns)
    files = [SourceFile(name, members[name].file_size, stamp, lambda: path, name) for name in chosen]
    return Source(source, tuple(files), tuple(name for name in shown if name not in set(chosen)))


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
