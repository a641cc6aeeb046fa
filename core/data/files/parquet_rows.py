"""The rows of a Parquet file."""

import io
from collections.abc import Iterator
from typing import Any

from fitune.core.data.values import Row, Skip
from fitune.core.errors import UserError

BATCH_BYTES = 1 << 24


def parquet_rows(raw: io.BufferedReader, name: str) -> Iterator[tuple[int, Row | Skip]]:
    """The rows, each with its place from 1. Raises UserError where the file is not whole."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(raw)
        row_bytes = sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups))
        batch = max(1, min(1024, BATCH_BYTES * max(1, file.metadata.num_rows) // max(1, row_bytes)))
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
    except (ValueError, OverflowError):  # text that is not UTF-8, a time without a name or beyond the year 9999
        if table.num_rows == 1:
            return [_as_row(table)]
        return [row for place in range(table.num_rows) for row in _as_rows(table.slice(place, 1))]


def _as_row(table: Any) -> Row | Skip:
    """The one row of a piece, without a time that Python has no name for."""
    row: Row = {}
    for name in table.column_names:
        try:
            row[name] = table[name][0].as_py()
        except OverflowError:
            row[name] = None
        except ValueError as error:
            return Skip("bad_line", f"can't be read: {error}.")
    return row


def rows_in_parquet(raw: io.BufferedReader) -> int | None:
    """The number of rows that a Parquet file says it has; None for other files, and for broken ones."""
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
