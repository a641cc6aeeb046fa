"""The columns of the first rows, judged by their values: the evidence for choosing a reading."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fitune.core.data.chats.turns import Style, style_of
from fitune.core.data.shapes.names import hinted_roles, roles_of, snake
from fitune.core.data.values import decoded, plain_text

Kind = Literal["empty", "turns", "text", "label", "id", "number", "yes_no", "date", "path", "media", "object", "list"]
MOST = 0.6
"""This share of a column's values decides what it holds."""
LABEL_CHARS = 40
NAME_WORDS = 3
"""A column of authors or sources holds no more words in a value than this."""
FEW_VALUES = 8
"""With fewer values than this, nothing can be said about how often they repeat."""
MEDIA_ENDING = r"\.(?:png|jpe?g|gif|webp|bmp|tiff?|heic|mp3|wav|flac|ogg|m4a|mp4|mov|avi|webm)"
MEDIA_FILE = re.compile(
    r"data:(?:image|audio|video)/|iVBORw0KGgo|/9j/4AA|R0lGODlh|"
    rf"(?:(?!{MEDIA_ENDING}\b)[^\n]){{1,100}}{MEDIA_ENDING}$",
    re.IGNORECASE,
)
"""Media in letters, or the name of a file with them: with spaces, too, but not a sentence that names two files."""
PATH = re.compile(r"(?:https?://|s3://|file://|\.{0,2}/|[A-Za-z]:\\)\S+$|\S+/\S+\.\w{1,5}$|[\w.-]+@[\w.-]+$|www\.\S+$")
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T]\d{1,2}:\d{2}\S*)?(?: [AP]M)?$|\d{1,2}:\d{2}(?::\d{2})?$")
NUMBER = re.compile(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?%?$")
ID = re.compile(
    r"(?:[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,}|[0-9a-fA-F]{12,}|[A-Za-z]{0,12}[-_:#][\w-]*\d[\w-]*"
    r"|[A-Za-z]{1,6}\d{3,}|(?=\S*\d)(?=\S*[A-Za-z])[\w-]{12,})$"
)
"""A long number, a hash, a name with a number behind it or behind a hyphen."""
OF_IDS = {"id", "ids", "uid", "uuid", "guid", "hash", "key", "sha"}
"""The last word of the name of a column with ids."""
YES_NO = {"true", "false", "0", "1", "0.0", "1.0", "-1", "yes", "no", "good", "bad", "up", "down", "upvote", "downvote",
          "thumbs_up", "thumbs_down", "thumbs up", "thumbs down", "like", "dislike", "positive", "negative",
          "accept", "reject", "accepted", "rejected", "pass", "fail", "passed", "failed",
          "correct", "incorrect", "desirable", "undesirable", "👍", "👎", "helpful",
          "not helpful", "unhelpful", "right", "wrong", "gut", "schlecht", "ja", "nein", "oui", "non", "sí", "si",
          "да", "нет", "是", "否"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as the first rows show it."""

    name: str
    kind: Kind
    values: tuple[Any, ...]
    """Those that are not empty, decoded."""
    words: int
    """Letters of text in it that are words, not marks or names of things: what a model could learn from."""
    style: Style | None = None
    """The way in which its turns are written, where it holds turns."""

    @property
    def roles(self) -> frozenset[str]:
        """The meaning of its name."""
        return roles_of(self.name)

    @property
    def hints(self) -> frozenset[str]:
        """The meaning of words in its name."""
        return self.roles or hinted_roles(self.name)


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every column of these rows, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Every column of these rows; the fields of an object that is no chat are columns too, such as `answers.text`."""
    found: list[Column] = []
    rows = list({repr(row): row for row in rows}.values())  # that a row comes twice says nothing about its columns
    for name in columns_of(rows):
        column = _column(name, [row.get(name) for row in rows])
        found.append(column)
        if column.kind == "object":
            objects = [value for value in column.values if isinstance(value, dict)]
            found += [_column(f"{name}.{key}", [each.get(key) for each in objects]) for key in columns_of(objects)]
    return found


def _column(name: str, raw: list[Any]) -> Column:
    texts = (plain_text(each) if isinstance(each, bytes) else each for each in raw)
    values = tuple(value for each in texts if not _is_empty(value := decoded(each)))
    kind, style = _kind(values, name)
    distinct = {str(value) for value in values}
    if kind == "text" and snake(name).split("_")[-1] in OF_IDS and not any(" " in value for value in distinct):
        kind = "id"
    few = len(values) >= FEW_VALUES and len(distinct) <= len(values) // 3
    if kind == "text" and max(map(len, distinct)) <= LABEL_CHARS:
        is_named = {"label", "note"} & roles_of(name) and all(len(value.split()) <= NAME_WORDS for value in distinct)
        kind = "label" if few or is_named else kind
    words = sum(map(words_in, values)) if kind in ("text", "turns", "list") else 0
    return Column(name, kind, values, words, style)


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value != value or value in ([], {})


def _kind(values: tuple[Any, ...], name: str) -> tuple[Kind, Style | None]:
    if not values:
        return "empty", None
    lists = [value for value in values if isinstance(value, list | dict)]
    if len(lists) > MOST * len(values):
        return _kind_of_lists(lists, name)
    texts = [text for value in values if (text := plain_text(value)) is not None]
    if not texts:
        return "list", None
    return kind_of_texts([text.strip() for text in texts]), None


def _kind_of_lists(values: list[Any], name: str) -> tuple[Kind, Style | None]:
    styles = [style for value in values if (style := style_of(value))]
    if len(styles) > MOST * len(values) and (styles[0] != "texts" or _are_exchanges(values, name)):
        return "turns", styles[0]
    if _share(values, _is_media_object) > MOST:
        return "media", None
    singles = [
        value[0] for value in values if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)
    ]
    if len(singles) == len(values):
        return kind_of_texts([text.strip() for text in singles]), None
    return ("object" if _share(values, lambda value: isinstance(value, dict)) > MOST else "list"), None


def _are_exchanges(values: list[Any], name: str) -> bool:
    """True if lists of texts are what a user and an assistant say in turn: so named, and at least two texts each."""
    return bool({"chat", "history"} & roles_of(name)) and _share(values, lambda value: len(value) >= 2) > MOST


def _is_media_object(value: Any) -> bool:
    first = value[0] if isinstance(value, list) else value
    if isinstance(first, dict):
        return bool(first.keys() >= {"bytes", "path"} or first.keys() >= {"array", "sampling_rate"})
    return isinstance(first, str) and bool(MEDIA_FILE.match(first))


def kind_of_texts(texts: Sequence[str]) -> Kind:
    """The kind of single values, by the looks of most of them."""
    if {text.lower() for text in texts} <= YES_NO:  # true and false are written so, too
        return "yes_no"
    looks: dict[Kind, re.Pattern[str]] = {"media": MEDIA_FILE, "path": PATH, "date": DATE, "number": NUMBER, "id": ID}
    return next((kind for kind, look in looks.items() if _share(texts, look.match) > MOST), "text")


def _share(values: Sequence[Any], test: Callable[[Any], object]) -> float:
    """The share of these values that pass a test."""
    return sum(bool(test(each)) for each in values) / max(1, len(values))


def words_in(value: Any) -> int:
    """Letters of text in a value, also deep in a list or object. A single word without spaces counts little."""
    if isinstance(value, str):
        return len(value) if " " in value.strip() or not value.isascii() else min(len(value), 8)
    if isinstance(value, dict):
        return sum(map(words_in, value.values()))
    return sum(map(words_in, value)) if isinstance(value, list) else 0


def filled(table: Sequence[Column], role: str) -> list[Column]:
    """The columns of which the name says this role, those that hold something; all of them if none does."""
    named = [column for column in table if role in column.roles]
    return [column for column in named if column.kind != "empty"] or named


def has_sentences(column: Column) -> bool:
    """True if some of its values are more than single words."""
    return any(" " in str(value).strip() for value in column.values)


def is_prose(column: Column) -> bool:
    """True if at least half of its values are longer than the names of people and things. Where these are few, or the
    column is named text, one that is more than a word is enough."""
    texts = [str(value) for value in column.values]
    if "text" in column.hints or len(texts) < FEW_VALUES:
        return any(" " in text or not text.isascii() for text in texts)
    longer = [len(text.split()) > NAME_WORDS or len(text) > LABEL_CHARS / (1 + (not text.isascii())) for text in texts]
    return sum(longer) >= len(longer) / 2


def holds(column: Column, other: Column) -> bool:
    """True if each text of a column holds that of another in it: a whole prompt, written out."""
    pairs = list(zip(column.values, other.values, strict=False))
    return len(column.values) == len(other.values) and all(str(inner) in str(whole) for whole, inner in pairs)
