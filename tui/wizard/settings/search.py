"""Finds settings, models or presets by the words that a person types."""

import re
from collections.abc import Sequence

from fitune.tui.wizard.fields import Field


def matches(typed: str, text: str) -> bool:
    """True if a text holds all words that were typed, in any order and case."""
    return all(word in text.lower() for word in typed.lower().split())


def begins(typed: str, text: str) -> bool:
    """True if a text has a part that begins with each word that was typed: `4b` is no part of `14B`."""
    words = (re.escape(word) for word in typed.lower().split())
    return all(re.search(rf"(?<![a-z0-9.]){word}", text.lower()) for word in words)


def found_fields(typed: str, fields: Sequence[Field]) -> tuple[Field, ...]:
    """The fields that hold all words: first those that hold them in their name, then those in their help or values."""
    named = [field for field in fields if matches(typed, f"{field.label} {field.name} {_spoken(field.name)}")]
    told = [field for field in fields if matches(typed, _all_words(field))]
    return (*named, *(field for field in told if field not in named))


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace(".", " ")


def _all_words(field: Field) -> str:
    return " ".join((field.label, field.name, _spoken(field.name), field.help, *field.choices))
