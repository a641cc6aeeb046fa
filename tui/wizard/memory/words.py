"""Settings and what helps, in sentences: by the labels of the form, with the recipe's key beside a label once."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from fitune.core.forecast import Forecast, Remedy, together
from fitune.tui.text import tenths
from fitune.tui.wizard.fields import all_fields, text_of


def named(text: str, keys: bool = True) -> str:
    """A sentence that calls settings by their keys, in the words of the form: `Rank (lora.r)`, and then `Rank`.

    A key in a command (`--set lora.r=8`) stays as it is. keys: False leaves them out, where there is little room.
    """
    told: set[str] = set()

    def label_of(found: re.Match[str]) -> str:
        name = found[0]
        label = all_fields()[name].label
        is_first = keys and name not in told
        told.add(name)
        return f"{label} ({name})" if is_first else label

    return _keys().sub(label_of, text)


def changes_text(changes: Mapping[str, Any], keys: bool = False) -> str:
    """Settings with their values: `Rows at once 1, Sum up batches 8`. keys: each with its key in the recipe."""
    return ", ".join(
        f"{all_fields()[name].label}{f' ({name})' if keys else ''} {text_of(value) or 'none'}"
        for name, value in changes.items()
    )


def is_enough(now: Forecast, ways: Sequence[Remedy]) -> bool:
    """True if the memory suffices with these remedies."""
    return together(now, ways).memory_shortage is None


def remedy_text(now: Forecast, remedy: Remedy, keys: bool = False) -> str:
    """A remedy in one line: `Rows at once 1, Sum up batches 8: saves 1.2 GiB, enough`. keys: with the recipe's keys."""
    enough = ", enough" if is_enough(now, [remedy]) else ""
    return f"{changes_text(remedy.set, keys)}: saves {tenths(remedy.saves_bytes)}{enough}"


def all_of_them(now: Forecast, ways: Sequence[Remedy]) -> str:
    """What remedies that are not enough each come to together, as a sentence."""
    short = together(now, ways).memory_shortage
    which = {1: "This", 2: "Both"}.get(len(ways), f"All {len(ways)}")
    if short is None:
        return f"{which} together: enough." if len(ways) > 1 else "This is enough."
    even = "Even with this" if len(ways) == 1 else f"Even with {which.lower()}"
    return f"{even} {tenths(short.missing_bytes)} are missing. ^f at the settings tries all plans."


@cache
def _keys() -> re.Pattern[str]:
    """Any field's key that is neither a part of a longer word, nor behind `--set`, nor named with its label already."""
    names = "|".join(re.escape(name) for name in sorted(all_fields(), key=len, reverse=True))
    return re.compile(rf"(?<!--set )(?<![\w./(-])(?:{names})(?![\w/-]|\.\w)")
