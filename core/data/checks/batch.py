"""The short way through millions of JSON lines: a whole piece of a file, where nothing in it is out of the ordinary.

What it answers is what core.data.canonical and core.data.scan would find row by row; tests hold the two together.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import Any, Literal

from msgspec import DecodeError, Struct, defstruct, field
from msgspec.json import Decoder

from fitune.core.data.chats.speakers import ROLES, turn_trouble
from fitune.core.data.files.unparsed import Marker, Marks
from fitune.core.data.shapes.shape import CHAT_FORMATS, NEEDED, Shape

USUAL = {"messages", "instruction", "input", "output", "question", "answer", "prompt", "completion", "text"}
"""Roles of columns that need no look at each row."""
TOOLS = {"tools", "functions"}
ESCAPED = re.compile(r'["\\\x00-\x1f]')
"""Characters in the name of a column that JSON writes otherwise, which a struct does not take."""
MOST_COLUMNS = 200
"""Of more, in another order in each row, a struct's search for its fields takes too long."""
CALLS = {"function_call", "tool_call"}
"""Speakers whose words are read as calls of functions."""
FIRST = itemgetter(0)
"""The first character of a text. An empty text raises IndexError."""
SPACES = frozenset(filter(str.isspace, map(chr, range(0x3001))))
"""All characters that count as white space: U+3000 is the last."""
BRACKETS = ("[", "{")


SPEAKERS: Any = Literal.__getitem__(tuple(sorted(ROLES.keys() - CALLS)))  # mypy takes only names that are written out
CHATS = [
    list.__class_getitem__(
        defstruct("Turn", [("role", SPEAKERS), ("content", str)], rename=keys, gc=False, forbid_unknown_fields=True)
    )
    for keys in ({}, {"role": "from", "content": "value"})
]
"""A chat as OpenAI writes it, and one as ShareGPT does, with nothing else in its turns."""


def marker(shape: Shape, columns: Sequence[str]) -> Marker | None:
    """A function that hashes the content of each row in some JSON lines; None if each row needs a look of its own.

    It answers None where a row may be unusable or odd. columns: all that rows have been seen to have; a row with
    another one is odd.
    """
    mapped = shape.columns.values()
    if not shape.is_usable or not shape.columns.keys() <= USUAL or len(set(mapped)) < len(mapped):
        return None
    if len(columns) > MOST_COLUMNS or not TOOLS.isdisjoint(columns) or any(map(ESCAPED.search, (*columns, *mapped))):
        return None
    decoders = [Decoder(_row_of(shape, kind, columns)) for kind in (CHATS if shape.format in CHAT_FORMATS else [str])]

    def marks(lines: list[bytes]) -> Marks | None:
        for decoder in decoders:
            try:
                rows = decoder.decode_lines(b"".join(lines))
                return _marks(rows, shape) if len(rows) == len(lines) else None
            except (DecodeError, UnicodeDecodeError, RecursionError, IndexError):  # not such rows, or an empty text
                continue
        return None

    return marks


def _row_of(shape: Shape, kind: Any, columns: Iterable[str]) -> type[Struct]:
    """The row with columns of one kind that are learned from, and of any kind that are not; all in the order of the
    file, where they are found soonest."""
    roles = {column: role for role, column in shape.columns.items()}
    fields = []
    for number, name in enumerate(dict.fromkeys((*columns, *roles))):
        role = roles.get(name)
        if role in NEEDED[shape.format]:
            fields.append((role, kind, field(name=name)))
        elif role == "input":
            fields.append((role, str | None, field(name=name, default=None)))
        else:
            fields.append((f"other_{number}", Any, field(name=name, default=None)))
    return defstruct("RowOfFile", fields, kw_only=True, gc=False, forbid_unknown_fields=True)


def _marks(rows: Sequence[Struct], shape: Shape) -> Marks | None:
    if shape.format in CHAT_FORMATS:
        return _chat_marks(_column(rows, "messages"))
    *asks, answers = (_column(rows, role) for role in NEEDED[shape.format])
    if not asks:
        return None if _one_is_blank(answers) else list(map(hash, zip(answers, strict=True)))
    asked = _with_extras(asks[0], _column(rows, "input")) if "input" in shape.columns else asks[0]
    return list(map(hash, zip(asked, answers, strict=True))) if _is_prose(asked) and _is_prose(answers) else None


def _column(rows: Iterable[Struct], role: str) -> list[Any]:
    return list(map(attrgetter(role), rows))


def _with_extras(asked: Iterable[str], extras: Iterable[str | None]) -> list[str]:
    return [
        one if not extra or extra.isspace() else f"{one}\n\n{extra}" if one and not one.isspace() else extra
        for one, extra in zip(asked, extras, strict=True)
    ]


def _is_prose(texts: Sequence[str]) -> bool:
    """True if none of these texts is blank, or may be JSON."""
    firsts = set(map(FIRST, texts))
    if firsts.isdisjoint(SPACES):
        return firsts.isdisjoint(BRACKETS)
    return not any(text.isspace() or text.lstrip().startswith(BRACKETS) for text in texts)


def _one_is_blank(texts: Sequence[str]) -> bool:
    return not SPACES.isdisjoint(map(FIRST, texts)) and any(map(str.isspace, texts))


def _chat_marks(chats: Sequence[Sequence[Struct]]) -> Marks | None:
    orders = {tuple(map(attrgetter("role"), chat)) for chat in chats}
    texts = _column(chain.from_iterable(chats), "content")
    if _one_is_blank(texts) or not all(map(_take_turns, orders)):
        return None
    spoken = iter(texts)
    return [hash(tuple(islice(spoken, turns))) for turns in map(len, chats)]


@lru_cache(maxsize=4096)
def _take_turns(speakers: tuple[str, ...]) -> bool:
    """True if speakers of these names make a chat without anything odd."""
    return turn_trouble(tuple(map(ROLES.__getitem__, speakers))) is None
