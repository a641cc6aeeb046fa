"""The lesson of a row in a person's words: what the model is asked, and what it learns to answer."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fitune.core.data.canonical import converter, is_said
from fitune.core.data.chats.grouped import grouped
from fitune.core.data.shapes.shape import Shape
from fitune.core.data.values import Row, Skip

SHOWN_CHARS = 70


def exchange_of(row: Row) -> tuple[str, str]:
    """The text before the last answer of a canonical row, and this answer; of plain text the first is empty."""
    if "messages" not in row:
        return row.get("prompt", ""), row["completion"] if "completion" in row else row["text"]
    messages = row["messages"]
    learned = [
        place for place, each in enumerate(messages) if each["role"] == "assistant" and each.get("train") is not False
    ]
    asked = [each["content"] for each in messages[: learned[-1]] if each["role"] != "assistant" and is_said(each)]
    answer = messages[learned[-1]]
    return asked[-1] if asked else "", f"{answer['content']}{called(answer.get('tool_calls', ()))}".strip()


def called(calls: Iterable[Mapping[str, Any]]) -> str:
    """The tools that a message of a canonical row calls: ` [calls get_hours({"day": "Sunday"})]`."""
    functions = (call["function"] for call in calls)
    return "".join(f" [calls {each.get('name')}({_json(each.get('arguments'))})]" for each in functions)


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)


def said(row: Row, chars: int = SHOWN_CHARS) -> str:
    """The exchange in a sentence: `asked "Why?" it learns to answer "So."`. chars: at most so many of each text."""
    asked, answer = (_short(text, chars) for text in exchange_of(row))
    if "prompt" in row:
        return f'after "{asked}" it learns to go on with "{answer}"'
    return f'asked "{asked}" it learns to answer "{answer}"' if asked else f'it learns to write "{answer}"'


def said_of(rows: list[Row], shape: Shape) -> str:
    """The exchange of the first of these raw rows that can be read in this way; empty if none can."""
    convert = converter(shape.format, shape.columns)
    whole: list[Row | Skip] = [*rows]
    for row in (row for _, chats in grouped(iter([(range(len(rows)), whole)]), shape.columns) for row in chats):
        try:
            return "" if isinstance(row, Skip) else said(convert(row)[0])
        except Skip:
            continue
    return ""


def _short(text: str, chars: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= chars else f"{text[: chars - 3]}..."
