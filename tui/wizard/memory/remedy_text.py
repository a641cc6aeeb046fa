"""What helps where a plan does not fit: each change with its key, what it saves, and whether it is enough."""

from collections.abc import Sequence

from textual.content import Content

from fitune.core.forecast import Forecast, Remedy, together
from fitune.tui.text import tenths
from fitune.tui.wizard.memory.words import changes_text

KEYS = ("^o", "f6", "f7")
"""One for each remedy that is offered."""
ROOMY_COLUMNS = 56
"""From so many columns on the recipe's keys and the price of a change have room, too."""


def remedy_text(remedy: Remedy, keys: bool = False) -> str:
    """A remedy in one line: `Rows at once 1, Sum up batches 8: saves 1.2 GiB, enough`. keys: with the recipe's keys."""
    enough = ", enough" if remedy.is_enough else ""
    return f"{changes_text(remedy.set, keys)}: saves {tenths(remedy.saves_bytes)}{enough}"


def remedy_lines(now: Forecast | None, ways: Sequence[Remedy], columns: int) -> list[Content]:
    """The remedies that have a key, and what all of them come to."""
    if now is None or now.memory_shortage is None:
        return []
    if not ways:
        return [Content("No setting helps: a smaller model does.")]
    offered, roomy = ways[: len(KEYS)], columns >= ROOMY_COLUMNS
    told = []
    for key, way in zip(KEYS, offered, strict=False):
        price = Content.styled(f" {way.costs}", "$text-muted") if roomy else Content()
        told.append(Content.styled(f"{key} ", "bold $primary") + Content(remedy_text(way, roomy)) + price)
    return told if any(way.is_enough for way in offered) else [*told, Content(all_of_them(now, offered))]


def all_of_them(now: Forecast, ways: Sequence[Remedy]) -> str:
    """What remedies that are not enough each come to together, as a sentence."""
    short = together(now, ways).memory_shortage
    which = {1: "This", 2: "Both"}.get(len(ways), f"All {len(ways)}")
    if short is None:
        return f"{which} together: enough." if len(ways) > 1 else "This is enough."
    even = "Even with this" if len(ways) == 1 else f"Even with {which.lower()}"
    return f"{even} {tenths(short.missing_bytes)} are missing. ^f at the settings tries all plans."
