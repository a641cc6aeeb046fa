"""What the prepare job found: every row's length in the model's own tokens, what is trained, and a few rows to look at.

Nothing here depends on model.max_seq_length, so a screen may ask about any length: each answer is a sum over counts of
rows by their length, so that a million rows are as quick as a thousand.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import eval_fraction
from fitune.core.errors import UserError
from fitune.core.recipe import Recipe
from fitune.core.tokens.packing import Packing, decide

VERSION = 3
"""Of the answer, and of the rendering that it tells of."""
FILE = "prepared.json"
COUNTS = ("lengths", "blank_lengths", "firsts")
TOLD = ("source_rows", "skipped", "refused", "why_refused", "plain_template")
"""Fields of Prepared as they stand in the file."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an example."""

    text: str
    """Its part of the row's text; empty where a later token completes the letter that it begins."""
    trained: bool
    special: bool
    """Whether it is a mark such as <|im_end|>."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row token by token."""

    row: int
    """Its place among the rows of the source that are used, from 0."""
    length: int
    """Tokens of the whole row."""
    tokens: tuple[Token, ...]
    """The first of them; long rows are shown in part."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a length costs. Counted in rows and tokens of the whole source."""

    rows: int
    """Rows that lose their end, or all."""
    tokens: int
    trained_tokens: int
    emptied: int
    """Rows whose whole answer lies past the length: they are left out."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of the histogram: rows of `low` to `high` - 1 tokens."""

    low: int
    high: int
    rows: int


@dataclass(frozen=True)
class Prepared:
    """The lengths of all rows. Without slots, so that sums are made once: a budget follows keystrokes."""

    lengths: Mapping[int, int]
    """Tokens of a row as the model sees it -> how many rows. A chat may come as several rows: see rows/render.py."""
    blank_lengths: Mapping[int, int]
    """The same of the rows in which nothing is trained."""
    firsts: Mapping[int, int]
    """The place of the first trained token -> how many rows, of those that have one."""
    trained_at: "array[int]"
    """How many rows have a trained token at this place, from 0 on to the longest row's end."""
    examples: tuple[Example, ...]
    source_rows: int
    """Rows of the source that were used; `rows` may differ."""
    skipped: int
    """Rows of the source that can't be read, or lack what the others have."""
    refused: int
    """Rows that the chat template does not take."""
    why_refused: str
    """What it said of the first."""
    plain_template: bool
    """Whether this is a base model without a chat template of its own."""

    @staticmethod
    def read(folder: Path) -> "Prepared":
        """What a finished prepare job left in its folder. Raises UserError if it isn't there or can't be read."""
        try:
            return _of_json(orjson.loads((folder / FILE).read_bytes()))
        except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:  # also what orjson raises
            raise UserError(
                f"{folder / FILE} can't be read: {error}.", "Remove its folder, and prepare again."
            ) from None

    @property
    def rows(self) -> int:
        """All rows as the model sees them, however long."""
        return self._rows_below[-1]

    @property
    def total_tokens(self) -> int:
        """Tokens of all rows, uncut."""
        return self._tokens_below[-1]

    @property
    def longest(self) -> int:
        """Tokens of the longest row; 0 without rows."""
        return max(self.lengths, default=0)

    @property
    def blank(self) -> int:
        """Rows in which nothing is trained at any length: the template shows nothing of their answers."""
        return sum(self.blank_lengths.values())

    def lost_at(self, length: int) -> Lost:
        """What is lost when rows are cut to this many tokens."""
        place = bisect_right(self._sizes, length)
        cut = self.rows - self._rows_below[place]
        emptied = sum(rows for first, rows in self.firsts.items() if first >= length)
        tokens = self.total_tokens - self._tokens_below[place] - (cut - emptied) * length
        return Lost(cut, tokens, self.trained_tokens() - self.trained_tokens(length), emptied)

    def trained_tokens(self, length: int | None = None) -> int:
        """Tokens that the loss is taken of, over all rows once, cut to this length; None: uncut."""
        places = len(self.trained_at) if length is None else min(length, len(self.trained_at))
        return self._trained_before[places]

    def trained_per_epoch(self, recipe: Recipe) -> int:
        """About how many tokens one epoch trains: all rows at model.max_seq_length, less the held-out share."""
        held_out = eval_fraction(recipe, self.source_rows)
        return round((1 - held_out) * self.trained_tokens(recipe.model.max_seq_length))

    def lengths_at(self, length: int) -> Counter[int]:
        """Tokens of a row as cut to this length -> how many rows; those with nothing left to learn are left out."""
        lengths = Counter({size: rows for size, rows in self._useful.items() if size < length})
        lengths[length] = self._useful.total() - lengths.total() - self.lost_at(length).emptied
        return +lengths

    def longest_at(self, length: int) -> int:
        """Tokens of the longest row as cut: what the budget takes as `tokens`."""
        return min(self.longest, length)

    def padded_length(self, length: int, micro_batch: int) -> float:
        """Expected tokens of the longest row of a micro-batch: what its rows are padded to.

        The chance that all of m rows have at most x tokens is (share of such rows)^m, drawn with replacement.
        """
        lengths = sorted(self.lengths_at(length).items())
        total = max(1, sum(rows for _, rows in lengths))
        below, expected = 0, 0.0
        for size, rows in lengths:
            chance = ((below + rows) / total) ** micro_batch - (below / total) ** micro_batch
            expected += size * chance
            below += rows
        return expected

    def padding_share(self, length: int, micro_batch: int) -> float:
        """Share of the tokens of an average micro-batch that is padding, where a backend pads. 0 to 1."""
        lengths = self.lengths_at(length)
        padded = self.padded_length(length, micro_batch) * sum(lengths.values())
        return 1 - sum(size * rows for size, rows in lengths.items()) / padded if padded else 0.0

    def packing(self, recipe: Recipe) -> Packing:
        """Whether these rows, less the held-out share, would be packed, and what that gains: as the worker decides."""
        share = 1 - eval_fraction(recipe, self.source_rows)
        return decide(_thinned(self.lengths_at(recipe.model.max_seq_length), share), recipe)

    def histogram(self, bins: int = 20, cut: int | None = None) -> tuple[Bin, ...]:
        """Rows by length in bins of about equal width, the last with all that are longer than most.

        cut: a bin ends right with this length, so that none has both rows that are cut and rows that are not.
        """
        upto = max(1, self.longest)
        width = upto / bins
        if cut is not None and cut < upto:
            below = max(1, min(bins - 1, round(bins * cut / max(cut + 1, self.covering(0.99)))))
            width = cut / below
        lows = sorted({low for n in range(bins) if (low := 1 + round(n * width)) <= upto})
        counted: Counter[int] = Counter()
        for size, rows in self.lengths.items():
            counted[bisect_right(lows, size)] += rows
        highs = [*lows[1:], upto + 1]
        return tuple(Bin(low, high, counted[n]) for n, (low, high) in enumerate(zip(lows, highs, strict=True), 1))

    def covering(self, share: float) -> int:
        """The length that leaves this share of the rows whole."""
        rank = min(self.rows - 1, int(share * self.rows))
        return self._sizes[bisect_right(self._rows_below, rank) - 1] if self.rows else 0

    @cached_property
    def worked_out(self) -> dict[Hashable, Any]:
        """For core.tokens.workload, to keep what takes long and is asked at each key."""
        return {}

    @cached_property
    def _useful(self) -> Counter[int]:
        """The lengths of the rows in which something is trained."""
        return Counter(self.lengths) - Counter(self.blank_lengths)

    @cached_property
    def _sizes(self) -> list[int]:
        """Each length that a row has, shortest first."""
        return sorted(self.lengths)

    @cached_property
    def _rows_below(self) -> list[int]:
        """Rows of the n smallest lengths."""
        return [0, *accumulate(self.lengths[size] for size in self._sizes)]

    @cached_property
    def _tokens_below(self) -> list[int]:
        """Tokens of these rows."""
        return [0, *accumulate(size * self.lengths[size] for size in self._sizes)]

    @cached_property
    def _trained_before(self) -> list[int]:
        """Trained tokens at places before n."""
        return [0, *accumulate(self.trained_at)]


def _thinned(lengths: Mapping[int, int], share: float) -> Counter[int]:
    """This share of the rows, evenly of all lengths."""
    kept: Counter[int] = Counter()
    rows = taken = 0
    for size, count in sorted(lengths.items()):
        rows += count
        kept[size] = round(share * rows) - taken
        taken += kept[size]
    return +kept


def to_json(found: Prepared) -> dict[str, Any]:
    """As prepared.json has it. A token of an example is [text, 1 if trained + 2 if special]."""
    counts = {name: sorted(getattr(found, name).items()) for name in COUNTS}
    examples = [
        {"row": each.row, "length": each.length, "tokens": [[t.text, t.trained + 2 * t.special] for t in each.tokens]}
        for each in found.examples
    ]
    told = {name: getattr(found, name) for name in TOLD}
    return {"version": VERSION, **counts, "trained_at": found.trained_at.tolist(), "examples": examples, **told}


def _of_json(content: Mapping[str, Any]) -> Prepared:
    examples = tuple(
        Example(each["row"], each["length"], tuple(Token(text, bool(k & 1), bool(k & 2)) for text, k in each["tokens"]))
        for each in content["examples"]
    )
    lengths, blank_lengths, firsts = (dict(content[name]) for name in COUNTS)
    told = {name: content[name] for name in TOLD}
    return Prepared(lengths, blank_lengths, firsts, array("q", content["trained_at"]), examples, **told)
