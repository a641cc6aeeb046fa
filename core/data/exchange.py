"""The lesson of a row in a person's words: what the model is asked, and what it learns to answer."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fitune.core.data.canonical import converter, is_said
from fitune.core.data.chats.grouped import grouped
from fitune.core.data.chats.messages import THOUGHTS
from fitune.core.data.shapes.shape import Shape
from fitune.core.data.values import Row, Skip

SHOWN_CHARS = 70
CUT = "..."


def exchange_of(row: Row, number: int = -1) -> tuple[str, str]:
    """The text before an answer of a canonical row, and this answer; of plain text the first is empty.

    number: which of the answers that are learned, as an index; the last by default.
    """
    if "messages" not in row:
        return row.get("prompt", ""), row["completion"] if "completion" in row else row["text"]
    messages = row["messages"]
    place = _learned(messages)[number]
    before = [each for each in messages[:place] if each["role"] != "assistant" and is_said(each)]
    asked = [each["content"] for each in before if each["role"] == "user"] or [each["content"] for each in before]
    answer = messages[place]
    return asked[-1] if asked else "", f"{answer['content']}{called(answer.get('tool_calls', ()))}".strip()


def _learned(messages: list[Row]) -> list[int]:
    """The places of the answers that are learned."""
    return [
        place for place, each in enumerate(messages) if each["role"] == "assistant" and each.get("train") is not False
    ]


def called(calls: Iterable[Mapping[str, Any]]) -> str:
    """The tools that a message of a canonical row calls: ` [calls get_hours({"day": "Sunday"})]`."""
    functions = (call["function"] for call in calls)
    return "".join(f" [calls {each.get('name')}({_json(each.get('arguments'))})]" for each in functions)


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)


def said(row: Row, chars: int = SHOWN_CHARS) -> str:
    """The exchange in a sentence: `asked "Why?" it learns to answer "So."`. chars: at most so many of each text."""
    return " ".join(filter(None, halves(row, chars)))


def halves(row: Row, chars: int = SHOWN_CHARS) -> tuple[str, str]:
    """The two halves of that sentence, of a chat on its first answer; the first is empty where nothing is asked."""
    compared = "rejected" in row or "label" in row
    asked, answer = (_short(text, chars) for text in exchange_of(row, -1 if compared else 0))
    if compared:
        return f'{"asked" if "messages" in row else "after"} "{asked}"', _preferred(row, answer, chars)
    if "prompt" in row:
        return f'after "{asked}"', f'it learns to go on with "{answer}"'
    if not asked:
        return "", f'it learns to write "{answer}"'
    first, *others = _learned(row["messages"])
    thoughts = next((row["messages"][first][key] for key in THOUGHTS if key in row["messages"][first]), "")
    thinks = f'to think "{_short(thoughts, chars)}" and ' if thoughts else ""
    more = f" (and {len(others)} more)" if others else ""
    return f'asked "{asked}"', f'it learns {thinks}to answer "{answer}"{more}'


def _preferred(row: Row, answer: str, chars: int) -> str:
    """What is learned of an answer that is compared."""
    if "label" in row:
        return f'it learns {"to answer" if row["label"] else "not to answer"} "{answer}"'
    rejected = row["rejected"]
    other = rejected if isinstance(rejected, str) else f"{rejected['content']}{called(rejected.get('tool_calls', ()))}"
    return f'it learns to prefer "{answer}" to "{_short(other, chars)}"'


def said_of(rows: list[Row], shape: Shape, chars: int = SHOWN_CHARS) -> str:
    """The exchange of the first of these raw rows that can be read in this way; empty if none can."""
    convert = converter(shape.format, shape.columns)
    whole: list[Row | Skip] = [*rows]
    for row in (row for _, chats in grouped(iter([(range(len(rows)), whole)]), shape.columns) for row in chats):
        try:
            return "" if isinstance(row, Skip) else said(convert(row)[0], chars)
        except Skip:
            continue
    return ""


def _short(text: str, chars: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= max(chars, len(CUT)) else f"{text[: max(0, chars - len(CUT))]}{CUT}"
