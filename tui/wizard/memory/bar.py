"""The items of a budget gathered so that a person can follow them, and as a bar, with what is over the card."""

from collections.abc import Sequence

from textual.content import Content

from fitune.core.memory import BudgetPart

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model", ("layer weights", "experts", "embeddings and head", "image tower", "layer slots", "gathered layers")),
    ("adapter", ("LoRA weights", "trained embeddings", "trained weights")),
    (
        "gradients, optimizer",
        ("LoRA gradients", "gradients", "optimizer states", "optimizer scratch", "gradient buckets"),
    ),
    (
        "rows at work",
        ("layer inputs", "activations kept", "layer backward", "loss", "logits", "dequantization", "DoRA", "loading"),
    ),
)
"""What is named nowhere is overhead."""
OVERHEAD = "overhead"
NAMES = (*(name for name, _ in GROUPS), OVERHEAD)
SHADES, PLAIN_SHADES = "█▓▒░╱", "#=+-/"
COLOURS = ("$primary", "$primary-lighten-2", "$accent", "$secondary", "$secondary")
"""A colour for each group, in the order of SHADES."""
REST, PLAIN_REST = "·", "."
LIMIT, PLAIN_LIMIT = "┃", "|"


def group_of(part: str) -> str:
    """The group of an item of the budget."""
    return next((group for group, names in GROUPS if part in names), OVERHEAD)


def group_place(part: str) -> int:
    """The place of an item's group in the bar."""
    return NAMES.index(group_of(part))


def grouped(parts: Sequence[BudgetPart]) -> list[tuple[str, int]]:
    """(name, bytes) of what a person can follow: model, adapter, gradients and optimizer, rows at work, overhead. Sums
    to the total."""
    sums = dict.fromkeys(NAMES, 0)
    for part in parts:
        sums[group_of(part.name)] += part.bytes
    return [(name, amount) for name, amount in sums.items() if amount]


def shade(group: str, plain: bool) -> Content:
    """The mark of a group, as it stands in the bar."""
    at = NAMES.index(group)
    return Content.styled((PLAIN_SHADES if plain else SHADES)[at], COLOURS[at])


def bar(parts: Sequence[tuple[str, int]], free_bytes: int | None, columns: int, plain: bool) -> Content:
    """A stacked bar of groups, then the rest of what is free. What is over the free memory is red, behind a mark."""
    total = sum(amount for _, amount in parts)
    scale_bytes = max(total, free_bytes or 0, 1)
    marks: list[Content] = []
    so_far_bytes = 0
    for group, amount in parts:
        so_far_bytes += amount
        marks += [shade(group, plain)] * (round(columns * so_far_bytes / scale_bytes) - len(marks))
    rest = Content.styled(PLAIN_REST if plain else REST, "$secondary")
    marks += [rest] * (columns - len(marks))
    if free_bytes is not None and total > free_bytes:
        end = min(columns - 1, round(columns * free_bytes / scale_bytes))
        over = [Content.styled(mark.plain, "$error") for mark in marks[end + 1 :]]
        marks = [*marks[:end], Content.styled(PLAIN_LIMIT if plain else LIMIT, "bold $error"), *over]
    return Content.assemble(*marks)
