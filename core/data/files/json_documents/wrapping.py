"""The list of rows in a large JSON object, found before the object is read to its end."""

import json
import re
from collections.abc import Callable
from typing import Any

from fitune.core.data.chats.turns import style_of
from fitune.core.data.files.json_documents.arrangements import ASKED, LOOKED_AT, is_rows
from fitune.core.data.files.json_documents.exports import has_versions
from fitune.core.data.files.listing import split_of
from fitune.core.data.shapes.columns import words_in
from fitune.core.data.shapes.names import roles_of

GAP = re.compile(r"[\s,]*")
Decode = Callable[[str, int], tuple[Any, int]]


def wrapped_list(buffer: str, at: int, decode: Decode, split: str) -> int | None:
    """The place behind the [ of the list that is longer than the buffer, in an object that begins at `at`; None if
    that is no list of rows, or one of another split."""
    at = _after(buffer, at + 1)
    while buffer[at : at + 1] == '"':
        try:
            key, at = decode(buffer, at)
            at = _after(buffer, at)
            if buffer[at : at + 1] != ":":
                return None
            at = _after(buffer, at + 1)
            value, end = decode(buffer, at)
        except json.JSONDecodeError:
            return _begin(buffer, at, str(key), decode, split)
        if (is_rows(key, value) and not split_of(key)) or (ASKED & roles_of(key) and words_in(value)):
            return None  # rows by their topics, or a row of its own
        at = _after(buffer, end)
    return None


def _begin(buffer: str, at: int, key: str, decode: Decode, split: str) -> int | None:
    """The place of the first row in a value that is not whole: in a list, or in a list within objects."""
    mark = buffer[at : at + 1]
    if mark == "{":
        return wrapped_list(buffer, at, decode, split)
    if mark != "[" or split_of(key) not in (None, split):
        return None
    rows: list[Any] = []
    place = at + 1
    while len(rows) < LOOKED_AT:
        try:
            row, place = decode(buffer, _after(buffer, place))
        except json.JSONDecodeError:
            break
        rows.append(row)
    are_rows = bool(rows) and all(isinstance(row, dict) and "row" not in row for row in rows)
    are_rows = are_rows and style_of(rows) != "roles" and not any(map(has_versions, rows))
    return at + 1 if are_rows else None


def _after(buffer: str, at: int) -> int:
    """The place behind white space and commas."""
    found = GAP.match(buffer, at)
    return found.end() if found else at


def rows_behind(value: Any, columns: list[str], split: str) -> list[Any]:
    """The rows in what stands behind a list in the same object: in lists of the same columns, but of no other split."""
    lists = value.items() if isinstance(value, dict) else ()
    return [
        row
        for key, rows in lists
        if is_rows(key, rows) and split_of(key) in (None, split) and list(rows[0]) == columns
        for row in rows
    ]
