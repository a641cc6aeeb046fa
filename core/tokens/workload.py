"""What a training goes through, by the true lengths of its rows: what budget, pace and time are made of."""

from dataclasses import dataclass

from fitune.core.data import eval_fraction
from fitune.core.recipe import Recipe
from fitune.core.tokens.lengths import Prepared
from fitune.core.tokens.packing import Packing


@dataclass(frozen=True, slots=True)
class Workload:
    """A whole training, in tokens."""

    source_rows: int
    """Rows of the source that it was measured on."""
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
    train, data = recipe.train, recipe.data
    known = (recipe.model.max_seq_length, data.packing, data.eval_fraction, train.backend, train.micro_batch,
             train.grad_accum, train.epochs, train.max_steps)  # fmt: skip
    if known not in found.worked_out:
        found.worked_out[known] = _workload(found, recipe)
    work: Workload = found.worked_out[known]
    return work


def _workload(found: Prepared, recipe: Recipe) -> Workload:
    train, length = recipe.train, recipe.model.max_seq_length
    packing = found.packing(recipe)
    rows = max(1, packing.packed_rows if packing.packed else packing.rows)
    share = 1 - eval_fraction(recipe, found.source_rows)
    row_tokens = share * sum(size * count for size, count in found.lengths_at(length).items()) / rows
    if train.backend == "trl" and not packing.packed:
        row_tokens = found.padded_length(length, train.micro_batch)
    seen = train.max_steps * train.micro_batch * train.grad_accum if train.max_steps else train.epochs * rows
    return Workload(
        source_rows=found.source_rows,
        packing=packing,
        longest=found.longest_at(length),
        row_tokens=row_tokens,
        tokens=seen * row_tokens,
        trained_tokens=seen * found.trained_per_epoch(recipe) / rows,
    )


def as_decided(recipe: Recipe, rows: Prepared | None) -> tuple[Recipe, Workload | None]:
    """What estimates are made of: the recipe with data.packing as it will be (a file keeps "auto"), and its workload.

    rows: None where they are not known in tokens; then there is no workload, and rows count as full length.
    """
    if rows is None:
        return recipe, None
    work = workload(rows, recipe)
    data = recipe.data.model_copy(update={"packing": work.packing.packed})
    return recipe.model_copy(update={"data": data}), work


def lengths_said(work: Workload | None) -> str:
    """Where the lengths come from that an estimate is made of, in a line."""
    if work is None:
        return "lengths: assumed, every row fills max_seq_length"
    return f"lengths: measured on your {work.source_rows:,} row{'s' if work.source_rows != 1 else ''}"
