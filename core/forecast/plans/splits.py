"""Splits of the effective batch into micro-batches: by rows, or by tokens where some rows are much longer than most.

The loss is averaged over the trained tokens of a step, or with dpo over its pairs, so a split changes nothing but
memory and pace. orpo and kto compute with the rows of a micro-batch together: those keep the split of the recipe.
"""

from collections.abc import Iterator
from math import ceil

from fitune.core.forecast.plans.candidates import SearchSpace
from fitune.core.tokens import with_packing_decided

ENOUGH_TOKENS = 65_536
"""More tokens at once gain nothing: the smallest model keeps the fastest card busy with these."""
WILD = 2.0
"""Rows are split by tokens where the longest is so many times the mean: a number of rows then makes uneven parts."""
TOKEN_STEP = 1024
"""The tokens of a micro-batch are a multiple of these."""
WHOLE_MICRO_BATCH = ("orpo", "kto")
Split = dict[str, int | None]
SPLIT = ("train.micro_batch", "train.grad_accum", "train.micro_tokens")
"""The fields that a split sets; it counts as one change of a recipe."""


def by_rows(space: SearchSpace) -> Iterator[Split]:
    """Each way to split the effective batch by its rows, fewest at once first, as far as more can gain anything."""
    train = space.recipe.train
    if train.objective in WHOLE_MICRO_BATCH:
        yield _split(train.micro_batch, train.grad_accum)
        return
    batch = train.micro_batch * train.grad_accum
    most = max(1, train.micro_batch, ENOUGH_TOKENS // space.longest)
    for rows in range(1, min(batch, most) + 1):
        if batch % rows == 0 and batch // rows % space.site.ranks == 0:
            yield _split(rows, batch // rows)


def by_tokens(space: SearchSpace) -> Iterator[Split]:
    """Ways to split the effective batch by its tokens, fewest at once first; none where rows are of like length."""
    decided, work = with_packing_decided(space.recipe, space.rows, space.shape)
    if space.recipe.train.objective != "sft":
        return
    if work is None or decided.data.packing is True or space.site.ranks > 1 or work.longest < WILD * work.row_tokens:
        return
    batch = space.recipe.train.micro_batch * space.recipe.train.grad_accum
    most_tokens = TOKEN_STEP * ceil(work.longest / TOKEN_STEP)
    while most_tokens < min(2 * ENOUGH_TOKENS, batch * work.row_tokens):
        yield _split(batch, 1, most_tokens)
        most_tokens *= 2


def _split(rows: int, passes: int, most_tokens: int | None = None) -> Split:
    return dict(zip(SPLIT, (rows, passes, most_tokens), strict=True))
