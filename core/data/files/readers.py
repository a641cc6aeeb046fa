"""One reader a kind of file: numbered raw rows in order, with a Skip in the place of each row that can't be read."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from fitune.core.data.files.csv_rows import csv_rows
from fitune.core.data.files.json_documents.arrangements import as_row
from fitune.core.data.files.json_documents.exports import unpacked
from fitune.core.data.files.json_documents.rows import LOOKED_AT, gives_twice, json_rows
from fitune.core.data.files.json_documents.scripts import SUFFIXES as SCRIPTS
from fitune.core.data.files.json_documents.scripts import begin_of_rows, rows_of_script
from fitune.core.data.files.parquet_rows import parquet_rows
from fitune.core.data.files.streams import (
    HEAD_BYTES,
    JOINED,
    MAX_LINE_BYTES,
    Note,
    as_utf8,
    decompressed,
    kind_of,
    lines_of,
    refuse_empty,
    refuse_encoding,
    refuse_endless,
    refuse_kind,
    refuse_placeholder,
    suffix_of,
    utf8_line,
    wrong_quotes,
)
from fitune.core.data.files.unparsed import Marker, Unparsed
from fitune.core.data.files.xlsx_rows import xlsx_rows
from fitune.core.data.values import Row, Skip, from_python
from fitune.core.errors import UserError

Numbered = Iterator[tuple[int, Row | Skip]]
Batches = Iterator[tuple[Sequence[int], Sequence[Row | Skip]]]
"""Numbers of rows, and the rows."""
BATCH_BYTES = 1 << 15
"""Lines parsed at once: few enough to stay in the processor's cache, and to leave the garbage collector asleep."""
CONFLICT = ("<<<<<<< ", "=======", ">>>>>>> ")
"""Beginnings of the lines that git writes where two versions of a file differ."""
TEXT_ROW_CHARS = 4000
"""Plain text is cut into rows of at most this size, about 1,000 tokens of English at 4 characters each."""


def read(raw: io.BufferedReader, name: str, split: str, note: Note) -> Numbered:
    """The rows of an open file one by one: `batches`, flattened."""
    for numbers, rows in batches(raw, name, split, note):
        yield from zip(numbers, rows, strict=True)


def batches(raw: io.BufferedReader, name: str, split: str, note: Note, marks_of: Marker | None = None) -> Batches:
    """The rows of an open file, each with its line (JSONL, CSV, text) or its place (JSON, Parquet), from 1.

    name: for its suffix, and for errors. split: which list to take of a JSON object with several.
    note: told of (kind, line) where something was read leniently: encoding, utf16, repaired, header.
    marks_of: where it tells the marks of some JSON lines, these rows come as `Unparsed`.
    Raises UserError where the rest of the file can't be read.
    """
    try:
        yield from _reader(raw, name, split, note, marks_of)
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        hint = "It may be cut off or damaged: fetch or pack it again."
        raise UserError(f"{name} can't be read to its end: {error}.", hint) from None


def _reader(raw: io.BufferedReader, name: str, split: str, note: Note, marks_of: Marker | None) -> Batches:
    """The rows by the kind of the file. Its stream is held to the end: a zstd stream that is let go closes the file."""
    if raw.peek(4)[:4] == b"PAR1":
        yield from _batched(parquet_rows(raw, name))
        return
    if raw.peek(4)[:4] == b"PK\x03\x04":
        refuse_kind(name)
        yield from _batched(xlsx_rows(raw, name, note))
        return
    stream = as_utf8(decompressed(raw), note)
    head = stream.peek(HEAD_BYTES)
    refuse_empty(name, head)
    refuse_placeholder(name, head)
    refuse_encoding(name, head)
    if suffix_of(name) in SCRIPTS:
        begin = stream.read(begin_of_rows(name, head))
        yield from _batched(rows_of_script(json_rows(stream, name, split, note, 1 + begin.count(b"\n"))))
        return
    match kind_of(name, head):
        case "jsonl":
            yield from _jsonl(stream, name, note, marks_of or _unmarked)
        case "json":
            yield from _batched(json_rows(stream, name, split, note))
        case "csv":
            yield from _batched(csv_rows(lines_of(stream, name), name, "", note))
        case "tsv":
            yield from _batched(csv_rows(lines_of(stream, name), name, "\t", note))
        case "text":
            yield from _batched(_text(lines_of(stream, name), note))
        case "xlsx":  # a table in text under the name of a workbook
            yield from _batched(csv_rows(lines_of(stream, name), name, "", note))
        case "parquet":
            raise UserError(
                f"{name} is not a Parquet file.", "Parquet packs itself: unpack this file, or write it again."
            )


def _batched(rows: Numbered) -> Batches:
    for number, row in rows:
        yield (number,), [row]


def _unmarked(lines: list[bytes]) -> None:
    """The rows themselves are wanted."""


def _jsonl(stream: io.BufferedReader, name: str, note: Note, marks_of: Marker) -> Batches:
    first = 1
    while lines := _some_lines(stream, name, first):
        numbers = range(first, first + len(lines))
        for number, line in zip(numbers, lines if first == 1 else (), strict=False):
            if number <= LOOKED_AT and gives_twice(line):
                note("twice", number)
        first += len(lines)
        if (marks := marks_of(lines)) is not None:
            yield numbers, Unparsed(lines, marks)
        elif (rows := _all_objects(lines)) is not None:
            yield numbers, rows
        else:
            for number, line in zip(numbers, lines, strict=True):
                if line.strip():
                    found = _objects(line, number, note)
                    yield [number] * len(found), found


def _some_lines(stream: io.BufferedReader, name: str, first: int) -> list[bytes]:
    """The next lines, about BATCH_BYTES of them; none at the end. first: the number of the next line."""
    read = stream.read(BATCH_BYTES)
    rest = b"" if read.endswith(b"\n") else stream.readline(MAX_LINE_BYTES)
    lines = io.BytesIO(read + rest).readlines()  # a fifth of the time that split takes
    refuse_endless(rest, name, first + len(lines) - 1)
    return lines


def _all_objects(lines: list[bytes]) -> list[Row | Skip] | None:
    """The objects of these lines; None if one of them holds anything else."""
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    if set(map(type, rows)) != {dict}:
        return None
    return rows if unpacked(rows[0]) is rows[0] else list(map(unpacked, rows))


def _objects(line: bytes, number: int, note: Note) -> list[Row | Skip]:
    """The row of a line, or the rows where line ends are missing between them."""
    try:
        found = [orjson.loads(line)]
    except orjson.JSONDecodeError as error:
        joined = _joined(line) if JOINED.search(line) else []
        found = joined or [_repaired(line, number, f"{error.msg} at character {error.colno}", note)]
    return [as_row(unpacked(row)) for row in found]


def _joined(line: bytes) -> list[Any]:
    """The objects that follow each other on a line; none if it holds anything else."""
    try:
        return [orjson.loads(part) for part in JOINED.sub(b"}\n{", line).splitlines()]
    except orjson.JSONDecodeError:
        return []


def _repaired(line: bytes, number: int, error: str, note: Note) -> Any:
    """A line that is not strict JSON, read leniently if its meaning is plain; else the Skip that says why not."""
    text = utf8_line(line, number, note)
    if "\0" in text:
        return Skip("bad_line", "holds NUL bytes, which a crash or a full disk leaves behind.")
    if text.startswith(CONFLICT):
        return Skip("bad_line", "is the mark of a merge conflict of git: both versions of the rows are in the file.")
    if text.lstrip().startswith(("//", "#")):
        return Skip("bad_line", "is a remark, which JSON lines do not have.")
    try:
        row = json.loads(text.strip().rstrip(","), strict=False)
        orjson.dumps(row)  # refuses half characters (lone surrogates), which no tokenizer takes
    except (ValueError, TypeError, RecursionError):
        row = from_python(text.strip())
        if not isinstance(row, dict | list):
            return Skip("bad_line", f"is not valid JSON: {wrong_quotes(text) or error}.")
    if text.isascii() or _is_utf8(line):
        note("repaired", number)
    return row


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(lines: Iterable[bytes], note: Note) -> Numbered:
    """Whole paragraphs while they fit in a row; a longer paragraph is cut at a line's end, a longer line at a space."""
    held: list[str] = []
    held_chars, start = 0, 1
    for number, line in enumerate(lines, 1):
        text = utf8_line(line, number, note).rstrip()
        full = held_chars + len(text) > TEXT_ROW_CHARS
        if full and held_chars:
            yield start, {"text": "\n".join(held).strip()}
            held, held_chars, start = [], 0, number
        *whole, text = _pieces(text)
        for piece in whole:
            yield number, {"text": piece}
        held.append(text)
        held_chars += len(text) + 1
        if not text and held_chars > TEXT_ROW_CHARS * 3 // 4:  # a blank line, and the row is nearly full
            yield start, {"text": "\n".join(held).strip()}
            held, held_chars, start = [], 0, number + 1
    if any(held):
        yield start, {"text": "\n".join(held).strip()}


def _pieces(line: str) -> list[str]:
    pieces = []
    while len(line) > TEXT_ROW_CHARS:
        cut = line.rfind(" ", TEXT_ROW_CHARS // 2, TEXT_ROW_CHARS)
        cut = cut if cut > 0 else TEXT_ROW_CHARS
        pieces.append(line[:cut])
        line = line[cut:].lstrip()
    return [*pieces, line]
