"""The workload of a training in tokens, from the measured lengths of its rows: input of budget, pace and time."""

from dataclasses import dataclass

from fitune.core.data import eval_fraction, look_rows
from fitune.core.memory import Shape
from fitune.core.recipe import Recipe
from fitune.core.tokens.lengths import TokenStats
from fitune.core.tokens.micro_batch import largest_micro_batch, mean_split
from fitune.core.tokens.packing import Packing, is_refused, keeps_apart


@dataclass(frozen=True, slots=True)
class Workload:
    """A whole training, in tokens."""

    source_rows: int
    """Rows of the source that the lengths were measured on."""
    packing: Packing
    """The packing decision for the rows that are not held out, with the number of steps."""
    longest: int
    """Tokens of the longest row after truncation."""
    micro_tokens: int
    """Tokens of the largest micro-batch that is to be expected, padding included."""
    micro_batches: float
    """Micro-batches of an optimizer step on average: train.grad_accum, or more where train.micro_tokens splits them."""
    row_tokens: float
    """Tokens of an average row as it goes through the model: packed, or padded where the backend pads; of both texts of
    a row that compares two."""
    tokens: float
    """Tokens that go through the model in all steps, padding included."""
    trained_tokens: float
    """Tokens that the loss is computed on, in all steps."""
    source_tokens: float
    """Tokens of all rows of the source after truncation."""
    look_rows: float
    """Held-out rows that an evaluation looks at."""
    look_tokens: float
    """Their tokens."""
    pixels: int = 0
    """Values of the pixels of the images in a micro-batch, at most; 0 without images."""


def workload(stats: TokenStats, recipe: Recipe, shape: Shape | None) -> Workload:
    """The workload of a recipe whose backend is resolved.

    unsloth joins the rows of a micro-batch end to end where it can, trl pads them to the longest. shape: as for
    `decide_packing`.
    """
    train, data = recipe.train, recipe.data
    key = (train.objective, recipe.model.max_seq_length, data.packing, data.eval_fraction, train.backend,
             train.micro_batch, train.grad_accum, train.micro_tokens, train.epochs, train.max_steps,
             keeps_apart(recipe, shape))  # fmt: skip
    if key not in stats.workload_cache:
        stats.workload_cache[key] = _workload(stats, recipe, shape)
    work: Workload = stats.workload_cache[key]
    return work


def _workload(stats: TokenStats, recipe: Recipe, shape: Shape | None) -> Workload:
    train, length = recipe.train, recipe.model.max_seq_length
    packing = stats.packing(recipe, shape)
    rows = max(1, packing.packed_rows if packing.packed else packing.rows)
    held_out = eval_fraction(recipe, stats.source_rows)
    source_tokens = sum(size * count for size, count in stats.lengths_at(length).items())
    row_tokens = (1 - held_out) * source_tokens / rows
    micro_batches, pads = float(train.grad_accum), _pads(recipe, stats, shape)
    if pads and not packing.packed:
        row_tokens = train.texts * stats.padded_length(length, train.micro_batch * train.texts)
    if train.micro_tokens and not packing.packed:
        split, tokens = mean_split(stats.lengths_at(length), train.micro_batch, train.micro_tokens, pads)
        micro_batches *= split
        row_tokens = tokens / train.micro_batch if pads else row_tokens
    seen = train.max_steps * train.micro_batch * train.grad_accum if train.max_steps else train.epochs * rows
    usable = sum(stats.lengths_at(length).values()) / train.texts
    looked_at = min(held_out * usable, look_rows(recipe, packing.rows))
    return Workload(
        source_rows=stats.source_rows,
        packing=packing,
        longest=stats.longest_at(length),
        micro_tokens=_micro_tokens(stats, recipe, packing, pads, seen / train.micro_batch),
        micro_batches=micro_batches,
        row_tokens=row_tokens,
        tokens=seen * row_tokens,
        trained_tokens=seen * stats.trained_per_epoch(recipe) / rows,
        source_tokens=source_tokens,
        look_rows=looked_at,
        look_tokens=looked_at * source_tokens / max(1, usable),
        pixels=train.micro_batch * stats.row_pixels,
    )


def _pads(recipe: Recipe, stats: TokenStats, shape: Shape | None) -> bool:
    """True if the rows of a micro-batch are filled up to the longest: by trl, where answers are compared, where rows
    hold images, and in models that would not keep rows apart."""
    padded = recipe.train.backend == "trl" or recipe.train.objective != "sft" or stats.image_rows > 0
    return padded or not keeps_apart(recipe, shape)


def _micro_tokens(stats: TokenStats, recipe: Recipe, packing: Packing, pads: bool, batches: float) -> int:
    rows, length = recipe.train.micro_batch * recipe.train.texts, recipe.model.max_seq_length
    if packing.packed:
        return rows * length
    largest = rows * stats.longest_at(length) if pads else largest_micro_batch(stats.lengths_at(length), rows, batches)
    if not recipe.train.micro_tokens:
        return largest
    return min(largest, max(recipe.train.micro_tokens, stats.longest_at(length)))  # no row is cut


def with_packing_decided(recipe: Recipe, rows: TokenStats | None, shape: Shape) -> tuple[Recipe, Workload | None]:
    """The recipe with data.packing decided (a recipe file keeps "auto"), and its workload: the input of estimates.

    rows: None if their token counts are not known; then there is no workload, and rows count as full length.
    """
    work = None if rows is None else workload(rows, recipe, shape)
    packing = work.packing.packed if work else False if is_refused(recipe, shape) else recipe.data.packing
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"packing": packing})}), work


def lengths_note(work: Workload | None, is_packed: bool = False) -> str:
    """One line on the source of the row lengths behind an estimate. is_packed: the recipe says so, data.packing = true,
    so that the memory is known without the rows."""
    if work is None and is_packed:
        return "lengths: packed rows fill model.max_seq_length"
    if work is None:
        return "lengths: assumed, every row fills model.max_seq_length"
    return f"lengths: measured on your {work.source_rows:,} row{'s' if work.source_rows != 1 else ''}"
