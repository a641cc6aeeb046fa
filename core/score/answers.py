"""Reading of an answer: its visible text, its words, its last number, its JSON, its tool calls."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:[,\u00a0\u202f ]\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
MARKED_NUMBER = re.compile(r"####\s*(.+)|\\boxed\{([^{}]*)\}")
"""How GSM8K and its kin mark the result."""
FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
WORD = re.compile(r"[^\W_]+|[^\w\s]")
ARTICLES = {"a", "an", "the"}


def visible(text: str) -> str:
    """The answer without the reasoning before it, which a thinking model writes between marks."""
    return text.rpartition("</think>")[2].strip()


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles: SQuAD's normalisation (Rajpurkar 2016), for any script."""
    found = re.findall(r"[^\W_]+", text.casefold())
    return [word for word in found if word not in ARTICLES] or found or text.split()


def normalised(text: str) -> str:
    """The text reduced to its words: what two answers share that differ in case, spaces and punctuation only."""
    return " ".join(words(visible(text)))


def final_number(text: str) -> float | None:
    """The result in an answer: the number behind `####` or in `\\boxed{}`, else the last one; None without a number."""
    seen = visible(text)
    marked = [one or other for one, other in MARKED_NUMBER.findall(seen)]
    numbers = NUMBER.findall(marked[-1] if marked else seen)
    if not numbers:
        return None
    return float(re.sub(r"[,\u00a0\u202f ]", "", numbers[0 if marked else -1]))


def json_value(text: str) -> Any:
    """The JSON object or list that an answer is, perhaps in a code fence. Raises ValueError if it is none."""
    seen = visible(text)
    fenced = FENCE.search(seen)
    value = json.loads(fenced[1] if fenced else seen)
    if not isinstance(value, dict | list):
        raise ValueError("neither an object nor a list")
    return value


def is_json(text: str) -> bool:
    """True if the answer is a JSON object or list."""
    try:
        json_value(text)
    except (ValueError, RecursionError):
        return False
    return True


def fields(value: Any, path: str = "") -> Counter[tuple[str, str]]:
    """The leaves of a JSON value with their paths. The order in a list does not count."""
    if isinstance(value, dict) and value:
        return sum((fields(each, f"{path}.{key}") for key, each in value.items()), Counter[tuple[str, str]]())
    if isinstance(value, list) and value:
        return sum((fields(each, f"{path}[]") for each in value), Counter[tuple[str, str]]())
    return Counter([(path, json.dumps(value))])


def tool_calls(text: str) -> list[tuple[str, Any]]:
    """The calls in an answer, as (function, arguments): every JSON object that names both, in any wrapping."""
    return [call for each in _objects(visible(text)) if (call := _call(each))]


def _call(value: Any) -> tuple[str, Any] | None:
    inner = value.get("function") if isinstance(value.get("function"), dict) else value
    arguments = inner.get("arguments", inner.get("parameters"))
    if not isinstance(inner.get("name"), str) or arguments is None:
        return None
    if isinstance(arguments, str):
        with suppress(ValueError):  # arguments that are a text stay one
            arguments = json.loads(arguments)
    return inner["name"], arguments


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects that stand anywhere in a text, also those in a list."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place != -1:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield value
        place = text.find("{", end)
