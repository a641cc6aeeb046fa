"""One reader a kind of file: numbered raw rows in order, with a Skip in the place of each row that can't be read."""

import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from fitune.core.data.canonical import Row, Skip, kind_name
from fitune.core.data.files.json_stream import json_rows
from fitune.core.data.files.streams import HEAD_BYTES, Note, as_utf8, decompressed, kind_of
from fitune.core.errors import UserError

Numbered = Iterator[tuple[int, Row | Skip]]
Batches = Iterator[tuple[Sequence[int], list[Row | Skip]]]
"""Numbers of rows, and the rows."""
BATCH_BYTES = 1 << 15
"""Lines parsed at once: few enough to stay in the processor's cache, and to leave the garbage collector asleep."""
TEXT_ROW_CHARS = 4000
"""Plain text is cut into rows of at most this size, about 1,000 tokens of English at 4 characters each."""
MAX_FIELD_CHARS = 1 << 26
"""A longer CSV field is taken for a quote that was never closed."""
PARQUET_BATCH_BYTES = 1 << 24


def read(raw: io.BufferedReader, name: str, split: str, note: Note) -> Numbered:
    """The rows of an open file one by one: `batches`, flattened."""
    for numbers, rows in batches(raw, name, split, note):
        yield from zip(numbers, rows, strict=True)


def batches(raw: io.BufferedReader, name: str, split: str, note: Note) -> Batches:
    """The rows of an open file, each with its line (JSONL, CSV, text) or its place (JSON, Parquet), from 1.

    name: for its suffix, and for errors. split: which list to take of a JSON object with several.
    note: told of (kind, line) where something was read leniently: encoding, utf16, repaired, header.
    Raises UserError where the rest of the file can't be read.
    """
    try:
        yield from _reader(raw, name, split, note)
    except (EOFError, OSError, zlib.error) as error:
        hint = "It may be cut off or damaged: fetch or pack it again."
        raise UserError(f"{name} can't be read to its end: {error}.", hint) from None


def _reader(raw: io.BufferedReader, name: str, split: str, note: Note) -> Batches:
    if raw.peek(4)[:4] == b"PAR1":
        return _batched(_parquet(raw, name))
    stream = as_utf8(decompressed(raw), note)
    match kind_of(name, stream.peek(HEAD_BYTES)):
        case "jsonl":
            return _jsonl(stream, note)
        case "json":
            return _batched(json_rows(stream, name, split, note))
        case "csv":
            return _batched(_csv(stream, name, "", note))
        case "tsv":
            return _batched(_csv(stream, name, "\t", note))
        case "text":
            return _batched(_text(stream, note))
        case "parquet":
            raise UserError(
                f"{name} is not a Parquet file.", "Parquet packs itself: unpack this file, or write it again."
            )


def _batched(rows: Numbered) -> Batches:
    for number, row in rows:
        yield (number,), [row]


def _jsonl(stream: io.BufferedReader, note: Note) -> Batches:
    first = 1
    while lines := stream.readlines(BATCH_BYTES):
        rows = _all_objects(lines)
        if rows is not None:
            yield range(first, first + len(lines)), rows
        else:
            for number, line in enumerate(lines, first):
                if line.strip():
                    yield (number,), [_object(line, number, note)]
        first += len(lines)


def _all_objects(lines: list[bytes]) -> list[Row | Skip] | None:
    """The objects of these lines; None if one of them holds anything else."""
    try:
        rows = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    return rows if set(map(type, rows)) == {dict} else None


def _object(line: bytes, number: int, note: Note) -> Row | Skip:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        row = _repaired(line, number, f"{error.msg} at character {error.colno}", note)
    return row if isinstance(row, dict | Skip) else Skip("bad_line", f"is {kind_name(row)}, not an object.")


def _repaired(line: bytes, number: int, error: str, note: Note) -> Any:
    """A line that is not strict JSON, read leniently if its meaning is plain; else the Skip that says why not."""
    text = _decoded(line, number, note)
    if "\0" in text:
        return Skip("bad_line", "holds NUL bytes, which a crash or a full disk leaves behind.")
    try:
        row = json.loads(text.strip().rstrip(","), strict=False)
        orjson.dumps(row)  # refuses half characters (lone surrogates), which no tokenizer takes
    except (ValueError, TypeError, RecursionError):
        return Skip("bad_line", f"is not valid JSON: {error}.")
    if text.isascii() or _is_utf8(line):
        note("repaired", number)
    return row


def _decoded(line: bytes, number: int, note: Note) -> str:
    """Text of a line: UTF-8, else Windows-1252, of which Latin-1 is the part that people use."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        note("encoding", number)
        return line.decode("cp1252", "replace")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _csv(lines: Iterable[bytes], name: str, delimiter: str, note: Note) -> Numbered:
    csv.field_size_limit(MAX_FIELD_CHARS)
    texts = (_decoded(line, number, note) for number, line in enumerate(lines, 1))
    first = next((text for text in texts if text.strip()), "")
    delimiter = delimiter or max(",;\t|", key=first.count)
    reader = csv.reader(_chained(first, texts), delimiter=delimiter, strict=True)
    try:
        header = _header(next(reader, []), name, note)
    except csv.Error as error:
        why = "its lines end with a carriage return alone" if "new-line" in str(error) else str(error)
        raise UserError(f"{name}:1: is not valid CSV: {why}.", "Save it anew as CSV (UTF-8).") from None
    number = reader.line_num
    while True:
        number, before = reader.line_num + 1, reader.line_num
        try:
            record = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error) or reader.line_num - before > 1:
                hint = 'A quote inside a quoted field is written twice: "".'
                raise UserError(f"{name}:{number}: a quote is opened and not closed again.", hint) from None
            yield number, Skip("bad_line", f"is not valid CSV: {error}.")
            continue
        if record is None:
            return
        if len(record) == len(header):
            yield number, dict(zip(header, record, strict=True))
        elif record:
            yield number, Skip("bad_line", f"has {len(record)} fields where the header has {len(header)}.")


def _chained(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _header(cells: list[str], name: str, note: Note) -> list[str]:
    names = [cell.strip() or f"unnamed_{n}" for n, cell in enumerate(cells, 1)]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise UserError(f"{name}:1: two columns are named {twice[0]}.", "Give each column a name of its own.")
    if any(_is_row_like(each) for each in names):
        note("header", 1)
    return names


def _is_row_like(name: str) -> bool:
    """Whether this is rather a text, or a number, than the name of a column."""
    return len(name) > 100 or len(name.split()) > 4 or name.endswith(("?", ".", "!")) or name.isdecimal()


def _parquet(raw: io.BufferedReader, name: str) -> Numbered:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(raw)
        row_bytes = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
        batch = max(1, min(1024, PARQUET_BATCH_BYTES * max(1, file.metadata.num_rows) // max(1, row_bytes)))
        number = 0
        for rows in file.iter_batches(batch_size=batch):
            for row in _as_rows(rows):
                number += 1
                yield number, row
    except pyarrow.ArrowException as error:
        hint = "It may be cut off: fetch or write it again."
        raise UserError(f"{name} is not a whole Parquet file: {str(error).splitlines()[0]}.", hint) from None


def _as_rows(table: Any) -> list[Row | Skip]:
    """The rows of a piece of a Parquet file; one by one where one can't be read."""
    try:
        return list(table.to_pylist())
    except ValueError as error:  # text that is not UTF-8, a time without a name
        if table.num_rows == 1:
            return [Skip("bad_line", f"can't be read: {error}.")]
        return [row for place in range(table.num_rows) for row in _as_rows(table.slice(place, 1))]


def rows_in_parquet(raw: io.BufferedReader) -> int | None:
    """How many rows a Parquet file says it has; None for other files, and for broken ones."""
    if raw.peek(4)[:4] != b"PAR1":
        return None
    import pyarrow
    from pyarrow.parquet import read_metadata

    try:
        return int(read_metadata(raw).num_rows)
    except (pyarrow.ArrowException, OSError):
        return None
    finally:
        raw.seek(0)


def _text(lines: Iterable[bytes], note: Note) -> Numbered:
    """Whole paragraphs while they fit in a row; a longer paragraph is cut at a line's end, a longer line at a space."""
    held: list[str] = []
    held_chars, start = 0, 1
    for number, line in enumerate(lines, 1):
        text = _decoded(line, number, note).rstrip()
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
