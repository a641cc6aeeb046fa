"""What helps where a plan does not fit: each change with its key, what it saves, and whether it is enough."""

from collections.abc import Sequence

from textual.content import Content

from fitune.core.forecast import Forecast, Remedy
from fitune.tui.wizard.memory.words import all_of_them, is_enough, remedy_text

KEYS = ("^o", "f6", "f7")
"""One for each remedy that is offered."""
ROOMY_COLUMNS = 56
"""From so many columns on the recipe's keys and the price of a change have room, too."""


def remedy_lines(now: Forecast | None, ways: Sequence[Remedy], columns: int) -> list[Content]:
    """The remedies that have a key, and what all of them come to."""
    if now is None or now.memory_shortage is None:
        return []
    if not ways:
        return [Content("No setting helps: a smaller model does.")]
    offered, roomy = ways[: len(KEYS)], columns >= ROOMY_COLUMNS
    told = []
    for key, way in zip(KEYS, offered, strict=False):
        price = Content.styled(f". {way.costs}", "$secondary") if roomy else Content()
        told.append(Content.styled(f"{key} ", "bold $primary") + Content(remedy_text(now, way, roomy)) + price)
    return told if any(is_enough(now, [way]) for way in offered) else [*told, Content(all_of_them(now, offered))]
