"""The short way through millions of rows: a whole batch at once, where nothing in it is out of the ordinary.

What it answers is what core.data.canonical and core.data.scan would find row by row; tests hold the two together.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter

from fitune.core.data.canonical import ROLES, Row
from fitune.core.data.formats import Shape
from fitune.core.data.turns import turn_trouble


def plain_marks(rows: Sequence[Row], shape: Shape) -> list[int] | None:
    """Hashes of the rows' content, one a row; None if a row may be unusable, or odd, and so needs a look of its own."""
    columns = shape.columns
    if "system" in columns or "instances" in columns or not all(type(row) is dict for row in rows):
        return None
    try:
        match shape.format:
            case "messages" | "sharegpt":
                return None if "tools" in rows[0] else _chat_marks([row[columns["messages"]] for row in rows])
            case "alpaca":
                return _marks(_asked(rows, columns), _column(rows, columns["output"]))
            case "question_answer":
                return _marks(_column(rows, columns["question"]), _column(rows, columns["answer"]))
            case "prompt_completion":
                asked, answers = _column(rows, columns["prompt"]), _column(rows, columns["completion"])
                return None if _may_be_json(asked) or _may_be_json(answers) else _marks(asked, answers)
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
        f"{one}\n\n{extra}" if extra and not str.isspace(extra) else one
        for one, extra in zip(asked, extras, strict=True)
    ]


def _may_be_json(texts: Iterable[str]) -> bool:
    return any(text.startswith(("[", "{", " ", "\n")) for text in texts)


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
    """Whether speakers of these names make a chat without anything odd."""
    return ROLES.keys() >= set(roles) and turn_trouble(tuple(ROLES[each] for each in roles)) is None
