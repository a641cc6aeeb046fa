"""Reading of an answer: its visible text, its words, its last number, its JSON, its tool calls."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import groupby
from typing import Any

_WHOLE = r"(?:\d{1,3}(?:[,\u00a0\u202f ]\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d+)"
"""A whole number, perhaps with separators: of thousands, or as in India."""
NUMBER = re.compile(rf"[-+]?(?:{_WHOLE}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")
MARKED_NUMBER = re.compile(r"####\s*(.+)|\\boxed\{([^{}]*)\}")
"""How GSM8K and its kin mark the result."""
FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
ARTICLE = re.compile(r"\b(?:an?|the)\s+(?=[^\W\d_]{2})")
"""Before a word: the A of "Vitamin A", or of an answer by letters, is none."""
SPACELESS = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
"""Letters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
LETTERS_A_WORD = 3
"""Of these scripts, about: between Chinese with less than two and Thai with four."""
ONE_FORM = str.maketrans({"\u2212": "-"} | dict.fromkeys("\u200b\u200c\u200d\ufe0e\ufe0f"))
"""The minus of typography is that of a keyboard, and what joins letters or colours an emoji says nothing."""


def visible(text: str) -> str:
    """The answer without the reasoning before it, which a thinking model writes between marks; nothing of one that was
    cut in the middle of it."""
    return text.rpartition("</think>")[2].partition("<think>")[0].strip()


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles: SQuAD's normalisation (Rajpurkar 2016), for any script.

    Letters of a script without spaces stand alone. Symbols that tell answers apart, as in `C++`, `-5` and `a < b`, and
    emoji are words, too.
    """
    plain = unicodedata.normalize("NFC", text.translate(ONE_FORM)).casefold()
    return _word(plain.isascii()).findall(ARTICLE.sub("", plain)) or text.split()


def word_count(text: str) -> int:
    """About so many words has a text, in any script."""
    found = words(text)
    letters = sum(re.match(f"[{SPACELESS}]", word) is not None for word in found)
    return len(found) - letters + -(-letters // LETTERS_A_WORD)


@cache
def _word(is_ascii: bool) -> re.Pattern[str]:
    """A word or symbol; in a text of ASCII, as most are, the same more quickly. Marks that follow a letter, as the
    vowels of Hindi and Thai, belong to it; re counts them among what is no word."""
    mark, symbol = _characters("Mn", "Mc", "Me"), _characters("Sm", "Sc", "So")
    letters = f"[^\\W_{SPACELESS}]+(?:[{mark}]+[^\\W_{SPACELESS}]*)*|[{SPACELESS}][{mark}]*"
    kinds = (
        r"[^\W_]+" if is_ascii else letters,
        r"-(?<![\w)\]]-)(?=\.?\d)",
        r"\#(?<=\w\#)",
        r"\*(?:(?<=\w\*)(?=\w)|(?<=\w \*)(?= \w))",
        "[$+<=>|~]" if is_ascii else f"[{symbol}]",
    )
    return re.compile("|".join(kinds))


def _characters(*categories: str) -> str:
    """The characters of Unicode categories, as they stand within [] of a pattern; none of these is above 0x1FFFF but
    selectors of variants, which say nothing."""
    runs = groupby(range(0x20000), lambda at: unicodedata.category(chr(at)) in categories)
    found = [(at[0], at[-1]) for chosen, run in runs if chosen and (at := list(run))]
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)


def normalised(text: str) -> str:
    """The text reduced to its words: what two answers share that differ in case, spaces and punctuation only."""
    return " ".join(words(visible(text)))


def final_number(text: str) -> float | None:
    """The result in an answer: the number behind `####` or in `\\boxed{}`, else the last one; None without a number."""
    seen = visible(text).translate(ONE_FORM)
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
