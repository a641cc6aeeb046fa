"""Token statistics of the rows, written by the prepare job: lengths in the model's tokens, trained tokens, examples.

Nothing here depends on model.max_seq_length, so a screen may ask about any length: each answer is a sum over counts of
rows by their length, so a million rows are as quick as a thousand.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from fitune.core.data import eval_fraction
from fitune.core.errors import UserError
from fitune.core.memory import Shape
from fitune.core.recipe import Recipe
from fitune.core.tokens.packing import Packing, decide_packing

VERSION = 5
"""Version of the file, and of the rendering that it counts."""
STATS_FILE = "prepared.json"
COUNTS = ("lengths", "blank_lengths", "firsts")
FIELDS = (
    "source_rows", "image_rows", "row_pixels", "skipped", "refused", "why_refused", "cure", "plain_template", "notes",
    "switch", "templates",
)  # fmt: skip
"""Fields of TokenStats that the file has unchanged."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an example."""

    text: str
    """Its part of the row's text; empty where a later token completes the character that it begins."""
    trained: bool
    """True if the token counts for the loss."""
    special: bool
    """True for a special token such as <|im_end|>."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row as a list of tokens."""

    row: int
    """Its number among the usable rows of the source, from 0."""
    length: int
    """Tokens of the whole row."""
    tokens: tuple[Token, ...]
    """The first tokens of the row; long rows are shown in part."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """The loss from truncating rows to a length, in rows and tokens of the whole source."""

    rows: int
    """Rows that lose their end, or everything."""
    tokens: int
    """Tokens that are cut off."""
    trained_tokens: int
    """Those of them that would count for the loss."""
    emptied: int
    """Rows whose whole answer is cut off: they are left out."""


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """A bin of the histogram: rows of `low` to `high` - 1 tokens."""

    low: int
    """The least tokens of a row in this bin."""
    high: int
    """One more than the most tokens of a row in this bin."""
    rows: int
    """Rows in this bin."""


@dataclass(frozen=True)
class TokenStats:
    """Token statistics of all rows. Without slots, so that sums can be cached: a screen asks at every keystroke."""

    lengths: Mapping[int, int]
    """Tokens of a row as the model sees it -> number of rows. A chat may become several rows: see rows/render.py."""
    blank_lengths: Mapping[int, int]
    """The same for the rows in which nothing is trained."""
    firsts: Mapping[int, int]
    """Position of the first trained token -> number of rows, for those that have one."""
    trained_at: "array[int]"
    """Number of rows with a trained token at this position, from 0 to the end of the longest row."""
    examples: tuple[Example, ...]
    source_rows: int
    """Rows of the source that were used; `rows` may differ."""
    skipped: int
    """Rows of the source that can't be read, or lack what the others have."""
    refused: int
    """Rows that the chat template refuses."""
    why_refused: str
    """The template's message for the first of them."""
    plain_template: bool
    """True for a base model without a chat template of its own."""
    cure: str = ""
    """What to do about the first refused row, where that is known."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Kind of note on rows (core/tokens/notes.py) -> number of rows."""
    switch: str | None = None
    """The option of the chat template that switches thinking off; None if it has none."""
    templates: Sequence[str] = field(default_factory=list)
    """Names of the tokenizer's chat templates, where it has several."""
    image_rows: int = 0
    """Rows of the source that hold images."""
    row_pixels: int = 0
    """Values of the pixels of a row's images, as the model's processor makes them: those of the row with most."""

    @staticmethod
    def read(folder: Path) -> "TokenStats":
        """Read the result of a finished prepare job from its folder. Raises UserError if it is missing or damaged."""
        try:
            return _of_json(orjson.loads((folder / STATS_FILE).read_bytes()))
        except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:  # also what orjson raises
            raise UserError(
                f"{folder / STATS_FILE} can't be read: {error}.", "Remove its folder, and prepare again."
            ) from None

    @property
    def rows(self) -> int:
        """Number of rows as the model sees them, of any length."""
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

    def truncation_at(self, length: int) -> Truncation:
        """The loss when rows are truncated to this many tokens."""
        index = bisect_right(self._sizes, length)
        cut = self.rows - self._rows_below[index]
        emptied = sum(rows for first, rows in self.firsts.items() if first >= length)
        tokens = self.total_tokens - self._tokens_below[index] - (cut - emptied) * length
        return Truncation(cut, tokens, self.trained_tokens() - self.trained_tokens(length), emptied)

    def trained_tokens(self, length: int | None = None) -> int:
        """Tokens that the loss is computed on, over all rows once, truncated to this length; None: not truncated."""
        position = len(self.trained_at) if length is None else min(length, len(self.trained_at))
        return self._trained_before[position]

    def trained_per_epoch(self, recipe: Recipe) -> int:
        """Approximate trained tokens of one epoch: all rows at model.max_seq_length, less the held-out share."""
        held_out = eval_fraction(recipe, self.source_rows)
        return round((1 - held_out) * self.trained_tokens(recipe.model.max_seq_length))

    def lengths_at(self, length: int) -> Counter[int]:
        """Tokens of a row truncated to this length -> number of rows, without rows that have nothing left to train."""
        lengths = Counter({size: rows for size, rows in self._useful.items() if size < length})
        lengths[length] = self._useful.total() - lengths.total() - self.truncation_at(length).emptied
        return +lengths

    def longest_at(self, length: int) -> int:
        """Tokens of the longest row after truncation: the budget's `tokens`."""
        return min(self.longest, length)

    def padded_length(self, length: int, micro_batch: int) -> float:
        """Expected length of the longest row of a micro-batch, to which its rows are padded.

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

    def packing(self, recipe: Recipe, shape: Shape | None) -> Packing:
        """The packing decision for these rows, less the held-out share: the same that the worker makes."""
        share = 1 - eval_fraction(recipe, self.source_rows)
        lengths = _thinned(self.lengths_at(recipe.model.max_seq_length), share)
        return decide_packing(lengths, recipe, shape, self.image_rows > 0)

    def histogram(self, bins: int = 20, cut: int | None = None) -> tuple[HistogramBin, ...]:
        """Number of rows by length, in bins of about equal width; the last holds all longer rows.

        cut: a bin ends exactly at this length, so that none has both truncated and whole rows.
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
        return tuple(
            HistogramBin(low, high, counted[n]) for n, (low, high) in enumerate(zip(lows, highs, strict=True), 1)
        )

    def covering(self, share: float) -> int:
        """The smallest length that leaves this share of the rows whole."""
        rank = min(self.rows - 1, int(share * self.rows))
        return self._sizes[bisect_right(self._rows_below, rank) - 1] if self.rows else 0

    @cached_property
    def workload_cache(self) -> dict[Hashable, Any]:
        """A cache for core.tokens.workload, whose slow results are asked for at every keystroke."""
        return {}

    @cached_property
    def _useful(self) -> Counter[int]:
        """Lengths of the rows in which something is trained."""
        return Counter(self.lengths) - Counter(self.blank_lengths)

    @cached_property
    def _sizes(self) -> list[int]:
        """The lengths that occur, shortest first."""
        return sorted(self.lengths)

    @cached_property
    def _rows_below(self) -> list[int]:
        """Number of rows with one of the n smallest lengths."""
        return [0, *accumulate(self.lengths[size] for size in self._sizes)]

    @cached_property
    def _tokens_below(self) -> list[int]:
        """Tokens of these rows."""
        return [0, *accumulate(size * self.lengths[size] for size in self._sizes)]

    @cached_property
    def _trained_before(self) -> list[int]:
        """Trained tokens at positions before n."""
        return [0, *accumulate(self.trained_at)]


def _thinned(lengths: Mapping[int, int], share: float) -> Counter[int]:
    """This share of the rows, evenly from all lengths."""
    kept: Counter[int] = Counter()
    rows = taken = 0
    for size, count in sorted(lengths.items()):
        rows += count
        kept[size] = round(share * rows) - taken
        taken += kept[size]
    return +kept


def to_json(stats: TokenStats) -> dict[str, Any]:
    """The content of prepared.json. A token of an example is [text, 1 if trained + 2 if special]."""
    counts = {name: sorted(getattr(stats, name).items()) for name in COUNTS}
    examples = [
        {
            "row": example.row,
            "length": example.length,
            "tokens": [[t.text, t.trained + 2 * t.special] for t in example.tokens],
        }
        for example in stats.examples
    ]
    fields = {name: getattr(stats, name) for name in FIELDS}
    return {"version": VERSION, **counts, "trained_at": stats.trained_at.tolist(), "examples": examples, **fields}


def _of_json(content: Mapping[str, Any]) -> TokenStats:
    examples = tuple(
        Example(
            example["row"],
            example["length"],
            tuple(Token(text, bool(k & 1), bool(k & 2)) for text, k in example["tokens"]),
        )
        for example in content["examples"]
    )
    lengths, blank_lengths, firsts = (dict(content[name]) for name in COUNTS)
    fields = {name: content[name] for name in FIELDS}
    return TokenStats(lengths, blank_lengths, firsts, array("q", content["trained_at"]), examples, **fields)
