"""The packing decision: several short rows in one of full length, if the recipe asks for it. Pure arithmetic.

Packed rows don't see each other, but a step then holds several times the rows, and an epoch has as many times fewer
steps. Measured (bench/packing_learns.py): with 1,279 rows of GSM8K, SmolLM2-135M and three seeds, the held-out loss
after an epoch was 0.817 with 8 rows a step, 0.888 with 32, and 0.953 packed, the learning rate raised with the step.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from fitune.core.memory import Shape
from fitune.core.recipe import Recipe

MIN_GAIN = 2.0
"""Rows per packed row below which packing would save hardly anything."""
SEEN_THROUGH: Mapping[str, frozenset[str]] = {
    "trl": frozenset({"afmoe", "biogpt", "bloom", "gpt_oss", "mpt", "opt", "xglm"}),
    "unsloth": frozenset({"gemma2", "gpt_oss"}),
}
"""Kinds of model whose attention does not keep rows apart that lie end to end, by backend: with transformers 5.17 tried
on small ones (core/worker/training/packing.py, rows_stay_apart); those that Unsloth pads (trainer.py,
PADDING_FREE_BLOCKLIST)."""
PackingReason = Literal["asked", "refused", "little_gain", "larger_steps", "compared", "images", "not_apart"]


@dataclass(frozen=True, slots=True)
class Packing:
    """A packing decision with its reason and its effect."""

    packed: bool
    """True if rows are packed, several to one of full length."""
    why: PackingReason
    """asked, refused: the recipe says so. little_gain, larger_steps: why "auto" does not. compared: the objective
    compares rows. images: rows hold them. not_apart: in this model a packed row would see the one before it."""
    rows: int
    """Rows to train on."""
    packed_rows: int
    """Rows of full length that hold them."""
    steps: int
    """Optimizer steps of the run, as decided."""

    @property
    def gain(self) -> float:
        """Average number of rows in a packed row."""
        return self.rows / max(1, self.packed_rows)


def decide_packing(lengths: Mapping[int, int], recipe: Recipe, shape: Shape | None, images: bool = False) -> Packing:
    """Decide whether data.packing packs these rows, of which none is packed where some hold images.

    lengths: tokens of a row, none longer than model.max_seq_length -> number of rows; of each text where a row has two.
    shape: the model's; None, where it is not known, counts as one that keeps rows apart.
    """
    if recipe.train.objective != "sft":
        rows = sum(lengths.values()) // recipe.train.texts
        return Packing(False, "compared", rows, rows, steps_of(recipe, rows))
    rows, packed_rows = sum(lengths.values()), bins_needed(lengths, recipe.model.max_seq_length)
    packed, why = _decision(recipe, shape, rows, packed_rows, images)
    return Packing(packed, why, rows, packed_rows, steps_of(recipe, packed_rows if packed else rows))


def keeps_apart(recipe: Recipe, shape: Shape | None) -> bool:
    """True if rows that lie end to end don't see each other in a model, with the recipe's backend, as far as is known.
    Unsloth lays the rows of a micro-batch so where that holds."""
    if shape is None:
        return True
    return shape.keeps_rows_apart and shape.model_type not in SEEN_THROUGH.get(recipe.train.backend, ())


def is_refused(recipe: Recipe, shape: Shape | None) -> bool:
    """True if a recipe asks for packed rows, and its model would not keep them apart."""
    return recipe.data.packing is True and not keeps_apart(recipe, shape)


def packing_note(recipe: Recipe, shape: Shape) -> str:
    """That rows are not packed though the recipe asks for it, and why, as a sentence; empty where that is not so."""
    why = f"in {shape.name} a packed row would see the one before it"
    return f"data.packing = true: rows are not packed, as {why}." if is_refused(recipe, shape) else ""


def _decision(
    recipe: Recipe, shape: Shape | None, rows: int, packed_rows: int, images: bool
) -> tuple[bool, PackingReason]:
    if images:
        return False, "images"
    if is_refused(recipe, shape):
        return False, "not_apart"
    if isinstance(recipe.data.packing, bool):
        return recipe.data.packing, "asked" if recipe.data.packing else "refused"
    return False, "little_gain" if rows < MIN_GAIN * packed_rows else "larger_steps"


def steps_of(recipe: Recipe, rows: int) -> int:
    """The optimizer steps of a training on so many rows, held-out ones not counted."""
    train = recipe.train
    an_epoch = ceil(rows / (train.micro_batch * train.grad_accum))
    return train.max_steps or ceil(train.epochs * an_epoch)


def bins_needed(lengths: Mapping[int, int], size: int) -> int:
    """Number of packed rows of `size` tokens that hold these rows: best fit, longest first, as trl.pack_dataset does.

    lengths: tokens of a row -> number of rows. Rows of the same length are placed at once, so a million rows are quick.
    """
    used = 0
    free: Counter[int] = Counter()  # tokens left in a bin -> how many such bins
    spaces: list[int] = []  # the keys of `free`, sorted
    for length, count in sorted(lengths.items(), reverse=True):
        while count:
            index = bisect_left(spaces, length)
            if index == len(spaces):
                used += (opened := ceil(count / (size // length)))
                space, available = size, opened
            else:
                space = spaces.pop(index)
                available = free.pop(space)
            per_bin = space // length  # the best fit for the next row is the bin that has just taken one
            full, rest = divmod(min(count, available * per_bin), per_bin)
            count -= full * per_bin + rest
            for left, number in (
                (space - per_bin * length, full),
                (space - rest * length, 1 if rest else 0),
                (space, available - full - (1 if rest else 0) if space < size else 0),
            ):
                if left and number:
                    if left not in free:
                        insort(spaces, left)
                    free[left] += number
    return used
