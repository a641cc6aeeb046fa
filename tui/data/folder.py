"""What lies in a folder to take rows from: its files with size, kind and rows, its folders, and the way up."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.cells import set_cell_size

from fitune.core.data import Report, dataset, numbered
from fitune.core.errors import UserError
from fitune.core.recipe import Data
from fitune.tui.data.paths import as_path, names_below
from fitune.tui.text import clean, size

DATA_SUFFIXES = (
    ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".ndjson", ".xlsx", ".txt", ".md", ".zip", ".jsonl.gz", ".jsonl.zst",
    ".json.gz", ".csv.gz", ".csv.zst",
)  # fmt: skip
PLAIN_TEXT = (".txt", ".md")
"""Rows only where a person says so: they are never proposed."""
MOST_ENTRIES = 200
NAME_COLUMNS, KIND_COLUMNS, SIZE_COLUMNS = 44, 9, 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a folder."""

    path: str
    """As it is typed in the box; that of a folder ends with /."""
    kind: Literal["file", "folder", "up", "example", "more"]
    size_bytes: int = 0
    """Of `more`, how many are not listed."""
    changed_s: float = 0.0

    @property
    def name(self) -> str:
        """Its own name."""
        return ".." if self.kind == "up" else self.path.rstrip("/").rpartition("/")[2] + "/" * (self.kind == "folder")

    @property
    def suffix(self) -> str:
        """Its kind of file in capitals: `JSONL`, `CSV.GZ`."""
        ending = next((each for each in sorted(DATA_SUFFIXES, key=len) if self.name.lower().endswith(each)), "")
        return ending[1:].upper()


def entries(typed: str) -> tuple[Entry, ...]:
    """The files, newest first, and the folders that a text may mean: those whose names begin as it ends.

    Where it names a file or nothing that is here, all of its folder, or of the current one, are listed.
    """
    path = as_path(typed)
    folder, names = names_below(path)
    if not names or Path(path).expanduser().is_file():
        folder, names = names_below(folder)
    if not names and not Path(folder or ".").expanduser().is_dir():
        folder, names = names_below("")
    found = [each for name in names if (each := _entry(f"{folder}{name}"))]
    files = sorted((each for each in found if each.kind == "file"), key=lambda each: -each.changed_s)
    up = Entry(_above(folder), "up")
    listed = (*files, *(each for each in found if each.kind == "folder"))
    left = len(listed) - MOST_ENTRIES
    return (*listed[:MOST_ENTRIES], *([Entry("", "more", left)] if left > 0 else []), up)


def proposals(listed: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The files that are surely rows, newest first."""
    return tuple(each for each in listed if each.kind == "file" and not each.path.lower().endswith(PLAIN_TEXT))


def look_into(entry: Entry) -> Report | None:
    """A report on the first rows of a file; None where they can't be read. For a thread."""
    try:
        return dataset.preview(Data(source=entry.path), 1)
    except UserError:
        return None


def line(entry: Entry, seen: Report | None, columns: int) -> str:
    """An entry in a line: `tickets.jsonl   JSONL   62.1 KiB   about 400 rows, question_answer`."""
    if entry.kind == "up":
        return "../     the folder above"
    if entry.kind == "more":
        return f"... {entry.size_bytes:,} more: type the beginning of a name"
    if entry.kind == "folder":
        return f"{_fit(entry.name, NAME_COLUMNS)} folder"
    name_columns = min(NAME_COLUMNS, max(16, columns - 49))
    told = f"{_fit(entry.name, name_columns)} {entry.suffix:<{KIND_COLUMNS}}{size(entry.size_bytes):>{SIZE_COLUMNS}}"
    return _fit(f"{told}   {rows_seen(seen)}", columns).rstrip() if seen else told


def rows_seen(seen: Report) -> str:
    """`about 1,300 rows, messages`; `no rows fitune knows` where they can't be trained on as they are."""
    if not seen.rows:
        return "not recognised" if seen.format == "unknown" else seen.format
    return f"{'' if seen.rows_counted else 'about '}{numbered('{n} row[|s]', seen.rows)}, {seen.format}"


def _entry(path: str) -> Entry | None:
    """None for what holds no rows, and for what went away meanwhile."""
    if path.endswith("/"):
        return Entry(path, "folder")
    if not path.lower().endswith(DATA_SUFFIXES):
        return None
    try:
        found = os.stat(os.path.expanduser(path))
    except OSError:
        return None
    return Entry(path, "file", found.st_size, found.st_mtime)


def _above(folder: str) -> str:
    """The folder above one, as it is typed; empty for the current one."""
    if folder in ("", "./") or folder.endswith("../") or folder == "~/":
        return f"{folder.removeprefix('./')}../"
    above, slash, _ = folder.rstrip("/").rpartition("/")
    return above + slash or ("/" if folder.startswith("/") else "")


def _fit(text: str, columns: int) -> str:
    text = clean(text)
    return set_cell_size(text, columns) if len(text) <= columns else set_cell_size(text, columns - 1) + "…"
