"""A value of a raw row: found by the name of its column, decoded, read as text, or the reason why it can't be."""

import ast
import re
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from itertools import count
from math import isfinite
from typing import Any

import orjson

from fitune.core.data.shapes.names import roles_of

Row = dict[str, Any]
PYTHON = re.compile(r"\s*[\[({]{1,3}\s*['\"]\w")
"""The beginning of a list or object that Python wrote: `[{'role': ...`."""
SAID = {"answer", "text", "content"}
"""Roles of the fields of an object that is one of several answers."""
ASKING = re.compile(
    r"(?:how|what(?:'s)?|why|who|whose|which|(?:when|where) (?:is|are|do|does|did|can|could|will|was|should)"
    r"|(?:can|could|may|should|would|will) (?:i|you|we|it|they|my|the)|(?:do|does|did) (?:i|you|we|they|he|she)"
    r"|(?:is|are|was|were) (?:it|there|this|that|these|my|the|you|we|they)"
    r"|wie|was|warum|wieso|weshalb|wo|wann|wer|welche[rsnm]?|(?:kann|darf|muss|soll) (?:ich|man)|gibt es"
    r"|comment|pourquoi|combien|quel(?:le)?s?|où|est-ce|puis-je|peut-on|qu'est-ce"
    r"|cómo|qué|por qué|cuándo|dónde|quién|cuál(?:es)?|cuánt[oa]s?|perché|dove|quale|quanto|onde|quem|qual|por que"
    r"|как|почему|зачем|где|когда|кто|как(?:ой|ая|ое|ие)|сколько)\b|怎么|如何|为什么|什么|哪",
    re.IGNORECASE,
)
"""Beginnings of questions, which many people write without a mark at their end."""
BETWEEN = re.compile(r"\}\n\s*\{")
"""What numpy writes between two objects; in the text of a value a line end is written as \\n."""


class Skip(Exception):
    """A row that can't be used; `kind` groups the same reason, `text` says it in a sentence."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


def cell(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, also of one within an object (`answers.text`) or a list (`answers.0`, its first); None if
    there is none."""
    if column in row or "." not in column:
        return row.get(column)
    first, _, rest = column.partition(".")
    inner = decoded(row.get(first))
    inner = dict(zip(map(str, count()), inner, strict=False)) if isinstance(inner, list) else inner
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
        raise Skip("empty" if column in row else "missing", f"has no {column}.")
    if isinstance(value, list) and value and are_texts(value):
        raise Skip("several", f"{column} is a list of {len(value)} texts, where one belongs.")
    if (text := plain_text(value)) is None:
        raise Skip("type", f"{column} is {kind_name(value)}, not text.")
    return text


def filled(row: Mapping[str, Any], column: str) -> str:
    """Text of a column that must not be empty. An object is written as JSON, so that the model learns to write it."""
    value = cell(row, column)
    if isinstance(value, list) and len(value) > 1 and "label" in roles_of(column) and are_texts(value):
        return ", ".join(value)  # several labels
    text = as_json(value) if _is_record(value) else text_of(row, column)
    if not text or text.isspace():
        raise Skip("empty", f"{column} is empty.")
    return text


def _is_record(value: Any) -> bool:
    """True if this is an object, or a list of flat objects of which none holds an answer: something to extract."""
    if not isinstance(value, list):
        return isinstance(value, dict)
    if value and _are_objects(value) and all({"start", "end"} <= each.keys() for each in value):
        return True  # marked places in a text
    inner = [each for row in value if isinstance(row, dict) for each in row.values()]
    is_flat = bool(inner) and _are_objects(value) and not any(isinstance(each, dict | list) for each in inner)
    return is_flat and not any(SAID & roles_of(key) for key in value[0])


def _are_objects(values: list[Any]) -> bool:
    return all(isinstance(each, dict) for each in values)


def are_texts(values: list[Any]) -> bool:
    """True if a list holds nothing but text."""
    return all(isinstance(each, str) for each in values)


def passages_of(row: Mapping[str, Any], column: str) -> str:
    """The text of a context, which may be a list of texts, or hold titles and texts in any order; empty if none."""
    value = decoded(cell(row, column))
    if isinstance(value, list):
        return "\n\n".join("\n".join(_texts_in(each)) for each in value)
    return "\n\n".join(_texts_in(value)) if isinstance(value, dict) else text_of(row, column, missing="")


def _texts_in(value: Any) -> list[str]:
    """All texts in a value; of an object only those of several words, if it holds any: not its addresses and ids."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    texts = [text for each in inner for text in _texts_in(each)]
    said = [text for text in texts if " " in text.strip()] if isinstance(value, dict) else []
    return said or texts


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


def asks(text: str) -> bool:
    """True if a text ends as a question does, or begins as one and has no mark at its end."""
    is_open = not _without_quotes(text).endswith((".", "!", "。", "！", ":"))
    return ends_asking(text) or (is_open and ASKING.match(text) is not None)


def ends_asking(text: str) -> bool:
    """True if a text ends as a question does, in any script."""
    return _without_quotes(text).endswith(("?", "？", "؟", "፧", "՞"))


def _without_quotes(text: str) -> str:
    """A text without what may stand behind its last sentence."""
    return text.rstrip(" \n\"'*_”»）)")
