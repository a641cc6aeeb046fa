"""Several cards: how many processes train together, and how they share the rows of a step."""

from collections.abc import Iterator, Sequence
from typing import Any

from fitune.core.errors import UserError
from fitune.core.machine import Gpu
from fitune.core.recipe import Recipe

WHOLE_STATES = ("adamw_torch", "adamw_torch_fused", "sgd")
"""Optimizers that take weights which are split over cards (DTensor)."""


def ranks_of(recipe: Recipe, gpus: Sequence[Gpu]) -> int:
    """The processes that train together: one a card. Without a card as many as the recipe asks for."""
    asked = recipe.run.gpus
    return len(gpus) or (asked if isinstance(asked, int) else 1)


def for_split(recipe: Recipe, gpus: Sequence[Gpu]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(group, changes, why) for each setting that a model split over the cards does otherwise."""
    train = recipe.train
    if recipe.run.shard is not True:
        return
    if len(gpus) < 2:
        yield "run", {"shard": False}, "a model is split over two cards or more."
        return
    if train.optimizer not in WHOLE_STATES:
        yield "train", {"optimizer": "adamw_torch_fused"}, "8-bit and paged optimizers can't split their states."
    if train.offload_layers is not None:
        yield "train", {"offload_layers": None}, "a model split over the cards keeps no layers in host RAM."


def shared_batch(recipe: Recipe, ranks: int) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(group, changes, why) where the micro-batches of a step can't be dealt out evenly: fewer rows in each.

    Raises UserError where not even the rows can.
    """
    train = recipe.train
    batch = train.micro_batch * train.grad_accum
    if ranks > 1 and train.micro_tokens:
        yield "train", {"micro_tokens": None}, "cards that train together take as many micro-batches each."
    if train.grad_accum % ranks == 0:
        return
    if batch % ranks:
        raise UserError(
            f"A step of {batch} rows (train.micro_batch x train.grad_accum) can't be shared by {ranks} cards.",
            f"Set train.grad_accum = {ranks}, or another number that {ranks} divides.",
        )
    rows = max(rows for rows in range(1, train.micro_batch + 1) if batch % (rows * ranks) == 0)
    why = f"{ranks} cards share the {batch} rows of a step."
    yield "train", {"micro_batch": rows, "grad_accum": batch // rows}, why
