"""A value of a raw row: found by the name of its column, decoded, read as text, or the reason why it can't be."""

import ast
import re
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from math import isfinite
from typing import Any

import orjson

Row = dict[str, Any]
PYTHON = re.compile(r"\s*[\[({]{1,3}\s*['\"]\w")
"""The beginning of a list or object that Python wrote: `[{'role': ...`."""
BETWEEN = re.compile(r"\}\n\s*\{")
"""What numpy writes between two objects; in the text of a value a line end is written as \\n."""


class Skip(Exception):
    """A row that can't be used; `kind` groups the same reason, `text` says it in a sentence."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


def cell(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, also of one within an object (`answers.text`); None if there is none."""
    if column in row or "." not in column:
        return row.get(column)
    first, _, rest = column.partition(".")
    inner = decoded(row.get(first))
    return cell(inner, rest) if isinstance(inner, dict) else None


def text_of(row: Mapping[str, Any], column: str, missing: str | None = None) -> str:
    """A value as text. missing: what stands for a value that is not there; without it that raises Skip."""
    value = cell(row, column)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if isinstance(value, float) and not isfinite(value):  # how pandas writes that there is nothing
        value = None
    if value is None and missing is not None:
        return missing
    if value is None:
        raise Skip("missing", f"has no {column}.")
    if (text := plain_text(value)) is None:
        raise Skip("type", f"{column} is {kind_name(value)}, not text.")
    return text


def filled(row: Mapping[str, Any], column: str) -> str:
    """Text of a column that must not be empty. An object is written as JSON, so that the model learns to write it."""
    value = cell(row, column)
    text = as_json(value) if isinstance(value, dict) else text_of(row, column)
    if not text or text.isspace():
        raise Skip("empty", f"{column} is empty.")
    return text


def plain_text(value: Any) -> str | None:
    """Text, a number, a date or bytes of UTF-8 as text; None for anything else."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, str | Decimal) else None


def as_json(value: Any) -> str:
    """A value as JSON in one line, its letters as they are."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def decoded(value: Any) -> Any:
    """A list or object that was stored as text, in JSON or as Python writes it, as itself; all else unchanged."""
    if not (isinstance(value, str) and value.lstrip()[:1] in ("[", "{")):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return from_python(value)


def from_python(text: str) -> Any:
    """The list or object that Python or numpy wrote as this text; the text itself if it is none."""
    if not PYTHON.match(text):
        return text
    for written in (text, BETWEEN.sub("}, {", text)):
        try:
            found = ast.literal_eval(written.strip())
            orjson.dumps(found)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        return found
    return text


def kind_name(value: Any) -> str:
    """The kind of a value, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, date | time):
        return "a date"
    names = {"list": "a list", "dict": "an object", "NoneType": "missing", "str": "text", "bytes": "bytes"}
    is_number = isinstance(value, int | float | Decimal)
    return names.get(type(value).__name__, "a number" if is_number else type(value).__name__)
