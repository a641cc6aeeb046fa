"""The rows in a value of a JSON document: in a list that an object wraps, by name or topic, as a pandas table."""

from typing import Any

from fitune.core.data.chats.turns import CHAT_KEYS, speaker_of, style_of
from fitune.core.data.files.listing import split_of
from fitune.core.data.shapes.columns import words_in
from fitune.core.data.shapes.names import plain, roles_of
from fitune.core.data.values import Row, Skip, decoded, kind_name

MOST = 0.8
"""An object whose list of objects holds this share of its words is only the list's wrapping."""
COUNTED = 200
"""Entries of a list whose words are counted."""
FEWEST_ROWS = 5
"""So many objects of the same fields are rows, whatever their fields are called; lists of so many entries are columns.
"""
LOOKED_AT = 20
"""Entries of a list that tell whether they are turns."""
ASKS = ("?", "？", "؟", ";")
"""Ends of questions; the last is that of Greek."""
PAIR_KEYS = {"questions", "qas", "qa", "qa_pairs", "faq", "faqs", "entries", "instances", "examples", "pairs", "items"}
"""Names of lists of pairs of which each is a row of its own, and not a turn of one chat."""
ASKED = {"question", "answer", "chosen", "system", "document"}
"""Roles of fields that belong to a single row."""


def as_row(value: Any) -> Row | Skip:
    """An object as it is; a bare list of chat turns as the row of a chat, a bare text as plain text."""
    is_list = isinstance(value, list) and value and isinstance(value[0], dict)
    if is_list and (style_of(value) or speaker_of(value[0]) is not None):
        return {"messages": value}
    if isinstance(value, list) and len(value) > 1 and all(isinstance(each, str) for each in value):
        return {f"column_{place}": each for place, each in enumerate(value, 1)}
    if isinstance(value, str):
        return {"text": value}
    return value if isinstance(value, dict | Skip) else Skip("bad_line", f"is {kind_name(value)}, not an object.")


def expanded(value: Any) -> list[Any]:
    """The questions of a document as SQuAD keeps them, each a row with its paragraph; any other value as it is."""
    if not (isinstance(value, dict) and isinstance(paragraphs := value.get("paragraphs"), list)):
        return _with_outer(value) if isinstance(value, dict) else [value]
    asked = [
        {
            "question": each.get("question"),
            "context": part.get("context"),
            "answer": _first_text(each.get("answers")),
        }
        for part in paragraphs
        if isinstance(part, dict) and isinstance(part.get("qas"), list)
        for each in part["qas"]
        if isinstance(each, dict)
    ]
    return asked or [value]


def _with_outer(value: Row) -> list[Any]:
    """The pairs in a list of an object that is so named, each with what the object says of all; else the object."""
    lists = (each for key, each in value.items() if plain(key) in PAIR_KEYS and is_rows(key, each))
    pairs = next((each for each in lists if style_of(each[:LOOKED_AT]) == "pairs"), None)
    if pairs is None:
        return [value]
    outer = {key: each for key, each in value.items() if isinstance(each, str | int | float) or _is_single(each)}
    return [{**outer, **row} if isinstance(row, dict) else row for row in pairs]


def _is_single(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)


def are_names(value: Any) -> bool:
    """True if a list holds the names of columns, of which one asks and one answers."""
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        return False
    roles = frozenset().union(*map(roles_of, value))
    return all(map(roles_of, value)) and {"question", "answer"} <= roles


def _first_text(answers: Any) -> str:
    """The text of the first of several answers; empty where the paragraph does not hold any."""
    first = answers[0] if isinstance(answers, list) and answers else None
    return str(first.get("text") or "") if isinstance(first, dict) else ""


def unwrapped(value: Any, split: str) -> list[Any]:
    """The rows in a value at the top of a document: in an object that only wraps them, or else the value itself."""
    value = decoded(value)  # a document that was written as the text of a document
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value]
    return _arranged(value, split) or [value]


def _arranged(value: Row, split: str) -> list[Any]:
    """The rows in an object, in any of these ways; none if it is a row itself."""
    return (
        _by_topic(value, split) or _wrapped(value, split) or _split_table(value) or _by_row(value) or _by_column(value)
        or _by_question(value)
    )  # fmt: skip


def _wrapped(value: Row, split: str) -> list[Any]:
    """The rows of the list that an object wraps: that of the split, or the one with nearly all the words."""
    words = {key: _words(each) for key, each in value.items()}
    enough = MOST * sum(words.values())
    lists = {key: each for key, each in value.items() if is_rows(key, each)}
    inner = [key for key, each in value.items() if isinstance(each, dict) and words[key] >= enough]
    if not lists and len(inner) == 1:
        return _arranged(value[inner[0]], split)
    if not lists:
        return []
    name = split if split in lists else max(lists, key=lambda key: words[key])
    if all(isinstance(each, dict) and isinstance(each.get("row"), dict) for each in lists[name]):
        return [each["row"] for each in lists[name]]  # as the Hub's viewer shows them
    is_row = any(ASKED & roles_of(key) and words[key] for key in value if key not in lists)
    if split not in lists and (is_row or words[name] < enough):
        return []
    return list(lists[name])


def _by_topic(value: Row, split: str) -> list[Any]:
    """Chats by their names {"a": [turn, turn], ...}, or lists of rows of the same columns by their topics."""
    lists = list(value.values())
    if len(lists) < 2 or split in value or any(map(split_of, value)) or not all(map(_are_objects, lists)):
        return []
    styles = {style_of(each[:LOOKED_AT]) for each in lists}
    if styles == {"roles"} and not any(map(roles_of, value)):
        return [{"messages": each} for each in lists]
    if any(row.keys() != lists[0][0].keys() for each in lists for row in each[:LOOKED_AT]) or "roles" in styles:
        return []
    return [row for each in lists for row in each]


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _by_question(value: Row) -> list[Any]:
    """Answers by their questions: {"How wide is it?": "As wide as you can see.", ...}."""
    asked = [key for key, answer in value.items() if key.strip()[-1:] in ASKS and isinstance(answer, str)]
    if len(value) < 2 or len(asked) < MOST * len(value) or not all(isinstance(each, str) for each in value.values()):
        return []
    return [{"question": key, "answer": answer} for key, answer in value.items()]


def _words(value: Any) -> int:
    """Letters of words in a value; of a long list judged by its first entries."""
    if isinstance(value, list) and len(value) > COUNTED:
        return words_in(value[:COUNTED]) * len(value) // COUNTED
    return words_in(value)


def is_rows(key: str, value: Any) -> bool:
    """A list of objects which are not the turns of one chat, or of lists which are."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return style_of(value[0]) == "roles"
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    style = style_of(value[:LOOKED_AT])
    return style is None or (style == "pairs" and key not in CHAT_KEYS)


def _split_table(value: Row) -> list[Any]:
    """pandas' orient="split": {"columns": [...], "data": [[...], ...]}."""
    columns, data = value.get("columns"), value.get("data")
    if not (isinstance(columns, list) and isinstance(data, list) and data):
        return []
    if not all(isinstance(row, list) and len(row) == len(columns) for row in data):
        return []
    return [dict(zip(map(str, columns), row, strict=True)) for row in data]


def _by_row(value: Row) -> list[Any]:
    """pandas' orient="index", and rows kept by their ids: {"0": {"question": ...}, "1": {...}}."""
    rows = list(value.values())
    if len(rows) < 2 or not all(isinstance(row, dict) and row for row in rows) or any(map(roles_of, value)):
        return []
    shared = set.intersection(*(set(row) for row in rows))
    is_table = len(rows) >= FEWEST_ROWS and len(shared) > 1 and all(len(row) == len(shared) for row in rows)
    return rows if is_table or any(map(roles_of, shared)) else []


def _by_column(value: Row) -> list[Any]:
    """pandas' orient="columns" {"question": {"0": ...}}, and lists {"question": [...]}, of known columns."""
    columns = list(value.values())
    if not any(roles_of(key) - {"chat"} for key in value) or any(key in CHAT_KEYS for key in value):
        return []
    if all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        keys = list(columns[0])
        return [{name: column[key] for name, column in value.items()} for key in keys] if _are_places(keys) else []
    lists = [column for column in columns if isinstance(column, list) and len(column) > 1]
    is_named = {"question", "answer"} <= frozenset().union(*map(roles_of, value))
    nested = any(isinstance(each, dict | list) for column in lists for each in column)
    if len(lists) < len(columns) or (nested and not is_named):
        return []
    if len(set(map(len, lists))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
    if min(map(len, lists)) < FEWEST_ROWS or not is_named:
        return []
    lengths = ", ".join(f"{len(column):,} {name}" for name, column in zip(value, lists, strict=True))
    return [Skip("bad_line", f"holds columns of different lengths, so nobody knows what belongs together: {lengths}.")]


def _are_places(keys: list[str]) -> bool:
    return len(keys) > 1 and all(key.isdecimal() for key in keys)
