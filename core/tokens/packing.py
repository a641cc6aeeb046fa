"""Several short rows in one of full length: how many rows that makes, and whether it is worth it. Pure arithmetic.

Packed rows don't see each other, so the model learns the same from them; but a step then holds more rows, and an epoch
has fewer steps.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from fitune.core.recipe import Recipe

LEAST_GAIN = 2.0
"""Rows per packed row from which "auto" packs: below it the work saved does not outweigh the fewer steps."""
LEAST_STEPS = 100
"""Steps that must remain in the run for "auto" to pack: a small data set must not shrink to a handful."""
Why = Literal["asked", "refused", "little_gain", "too_few_steps", "max_steps", "short_rows"]


@dataclass(frozen=True, slots=True)
class Packing:
    """Whether rows are packed, and what that does."""

    packed: bool
    why: Why
    """asked, refused: the recipe says so. little_gain, too_few_steps, max_steps: why "auto" does not. short_rows: why
    it does."""
    rows: int
    packed_rows: int
    steps: int
    """Optimizer steps of the run, as decided."""

    @property
    def gain(self) -> float:
        """Rows per packed row."""
        return self.rows / max(1, self.packed_rows)


def decide(lengths: Mapping[int, int], recipe: Recipe) -> Packing:
    """What data.packing means for these rows.

    lengths: tokens of a row, none longer than model.max_seq_length -> how many rows.
    """
    rows, packed_rows = sum(lengths.values()), bins(lengths, recipe.model.max_seq_length)
    plain_steps, packed_steps = (_steps(recipe, each) for each in (rows, packed_rows))
    packed, why = _decision(recipe, rows, packed_rows, packed_steps)
    return Packing(packed, why, rows, packed_rows, packed_steps if packed else plain_steps)


def _decision(recipe: Recipe, rows: int, packed_rows: int, packed_steps: int) -> tuple[bool, Why]:
    if isinstance(recipe.data.packing, bool):
        return recipe.data.packing, "asked" if recipe.data.packing else "refused"
    if rows < LEAST_GAIN * packed_rows:
        return False, "little_gain"
    if recipe.train.max_steps:  # so many steps as without packing, each of them longer
        return False, "max_steps"
    if packed_steps < LEAST_STEPS:
        return False, "too_few_steps"
    return True, "short_rows"


def _steps(recipe: Recipe, rows: int) -> int:
    train = recipe.train
    an_epoch = ceil(rows / (train.micro_batch * train.grad_accum))
    return train.max_steps or ceil(train.epochs * an_epoch)


def bins(lengths: Mapping[int, int], size: int) -> int:
    """How many rows of `size` tokens hold these rows, packed best fit, longest first, as trl.pack_dataset does.

    lengths: tokens of a row -> how many rows. Rows of the same length are laid at once, so a million rows are quick.
    """
    used = 0
    free: Counter[int] = Counter()  # tokens left in a bin -> how many such bins
    spaces: list[int] = []  # the keys of `free`, sorted
    for length, count in sorted(lengths.items(), reverse=True):
        while count:
            place = bisect_left(spaces, length)
            if place == len(spaces):
                used += (opened := ceil(count / (size // length)))
                space, available = size, opened
            else:
                space = spaces.pop(place)
                available = free.pop(space)
            each = space // length  # the best fit for the next row is the bin that has just taken one
            full, rest = divmod(min(count, available * each), each)
            count -= full * each + rest
            for left, number in (
                (space - each * length, full),
                (space - rest * length, 1 if rest else 0),
                (space, available - full - (1 if rest else 0) if space < size else 0),
            ):
                if left and number:
                    if left not in free:
                        insort(spaces, left)
                    free[left] += number
    return used
