"""What a training goes through, by the true lengths of its rows: what budget, pace and time are made of."""

from dataclasses import dataclass

from core.packing import Packing
from core.prepared import Prepared
from core.recipe_fields import Recipe
from core.rows.split import eval_fraction


@dataclass(frozen=True, slots=True)
class Workload:
    """A whole training, in tokens."""

    packing: Packing
    """Of the rows that are not held out; it knows the number of steps, too."""
    longest: int
    """Tokens of the longest row as cut."""
    row_tokens: float
    """Tokens of an average row as it goes through the model: packed, or padded where the backend pads."""
    tokens: float
    """What goes through the model in all steps, padding included."""
    trained_tokens: float
    """What the loss is taken of, in all steps."""


def workload(found: Prepared, recipe: Recipe) -> Workload:
    """The workload of a recipe whose backend is resolved.

    unsloth lays the rows of a micro-batch behind each other, trl pads them to the longest.
    """
    train, length = recipe.train, recipe.model.max_seq_length
    packing = found.packing(recipe)
    rows = max(1, packing.packed_rows if packing.packed else packing.rows)
    share = 1 - eval_fraction(recipe, found.source_rows)
    row_tokens = share * sum(size * count for size, count in found.lengths_at(length).items()) / rows
    if train.backend == "trl" and not packing.packed:
        row_tokens = found.padded_length(length, train.micro_batch)
    seen = train.max_steps * train.micro_batch * train.grad_accum if train.max_steps else train.epochs * rows
    return Workload(
        packing=packing,
        longest=found.longest_at(length),
        row_tokens=row_tokens,
        tokens=seen * row_tokens,
        trained_tokens=seen * found.trained_per_epoch(recipe) / rows,
    )


def as_decided(recipe: Recipe, work: Workload) -> Recipe:
    """The recipe with data.packing as it will be, for estimates: a file keeps "auto"."""
    data = recipe.data.model_copy(update={"packing": work.packing.packed})
    return recipe.model_copy(update={"data": data})
