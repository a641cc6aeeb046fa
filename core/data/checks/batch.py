"""The short way through millions of rows: a whole batch at once, where nothing in it is out of the ordinary.

What it answers is what core.data.canonical and core.data.scan would find row by row; tests hold the two together.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from fitune.core.data.chats.speakers import ROLES, turn_trouble
from fitune.core.data.shapes.shape import Shape
from fitune.core.data.values import Row

UNUSUAL = {"system", "instances", "history", "thinking"}
"""Roles of columns that need a look at each row."""
JSON_BEGINS = {"[", "{", " ", "\n"}


def plain_marks(rows: Sequence[Row], shape: Shape) -> list[int] | None:
    """Hashes of the rows' content, one a row; None if a row may be unusable, or odd, and so needs a look of its own."""
    columns = shape.columns
    if columns.keys() & UNUSUAL or not _all_are(dict, rows):
        return None
    try:
        match shape.format:
            case "messages" | "sharegpt":
                return (
                    None
                    if {"tools", "functions"} & rows[0].keys()
                    else _chat_marks([row[columns["messages"]] for row in rows])
                )
            case "alpaca":
                return _pair_marks(_asked(rows, columns), _column(rows, columns["output"]))
            case "question_answer":
                return _pair_marks(_column(rows, columns["question"]), _column(rows, columns["answer"]))
            case "prompt_completion":
                return _pair_marks(_column(rows, columns["prompt"]), _column(rows, columns["completion"]))
            case _:
                return _marks(_column(rows, columns["text"]))
    except (KeyError, TypeError, IndexError):  # a column or key is missing, or holds something else than was expected
        return None


def _column(rows: Sequence[Row], name: str) -> list[str]:
    return list(map(itemgetter(name), rows))


def _asked(rows: Sequence[Row], columns: Mapping[str, str]) -> list[str]:
    asked = _column(rows, columns["instruction"])
    if "input" not in columns:
        return asked
    extras = _column(rows, columns["input"])
    return [
        one if not extra or str.isspace(extra) else f"{one}\n\n{extra}" if one and not str.isspace(one) else extra
        for one, extra in zip(asked, extras, strict=True)
    ]


def _pair_marks(asked: list[str], answers: list[str]) -> list[int] | None:
    marks = _marks(asked, answers)
    return None if marks is None or _may_be_json(asked) or _may_be_json(answers) else marks


def _may_be_json(texts: Iterable[str]) -> bool:
    return not JSON_BEGINS.isdisjoint({text[:1] for text in texts})


def _marks(*columns: list[str]) -> list[int] | None:
    """Hashes of rows across these columns; None if one is not text throughout, or the last is empty somewhere."""
    if (
        any(not _all_are(str, column) for column in columns)
        or not all(columns[-1])
        or any(map(str.isspace, columns[-1]))
    ):
        return None
    return list(map(hash, zip(*columns, strict=True)))


def _all_are(kind: type, values: Iterable[object]) -> bool:
    return set(map(type, values)) == {kind}


def _chat_marks(chats: list[list[Row]]) -> list[int] | None:
    role, content = map(itemgetter, ("from", "value") if "from" in chats[0][0] else ("role", "content"))
    marks: list[int] = []
    texts: list[str] = []
    for chat in chats:
        if not _take_turns(tuple(map(role, chat))):
            return None
        spoken = tuple(map(content, chat))
        marks.append(hash(spoken))
        texts += spoken
    # Each turn has the two keys by now; a third makes it something else. isspace raises TypeError for what is no text.
    third_key = sum(map(len, chain.from_iterable(chats))) != 2 * len(texts)
    return None if third_key or any(map(str.isspace, texts)) or not all(texts) else marks


@lru_cache(maxsize=4096)
def _take_turns(roles: tuple[str, ...]) -> bool:
    """True if speakers of these names make a chat without anything odd."""
    return ROLES.keys() >= set(roles) and turn_trouble(tuple(ROLES[each] for each in roles)) is None
