"""What the prepare job would find in rows of which only the lengths are told."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from fitune.core.tokens.lengths import TokenStats

TokenRow = tuple[int, Sequence[tuple[int, int]]]
"""Tokens of a row, and its trained ranges."""


def prepared(rows: Iterable[TokenRow], **changes: Any) -> TokenStats:
    """The counts of these rows; `changes` are fields of TokenStats."""
    rows = list(rows)
    change = [0] * (max((size for size, _ in rows), default=0) + 1)
    for _, spans in rows:
        for first, end in spans:
            change[first] += 1
            change[end] -= 1
    known: dict[str, Any] = {
        "lengths": Counter(size for size, _ in rows),
        "blank_lengths": Counter(size for size, spans in rows if not spans),
        "firsts": Counter(spans[0][0] for _, spans in rows if spans),
        "trained_at": array("q", accumulate(change[:-1])),
        "examples": (), "source_rows": len(rows), "skipped": 0, "refused": 0, "why_refused": "",
        "plain_template": False,
    }  # fmt: skip
    return TokenStats(**(known | changes))
