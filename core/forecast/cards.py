"""Several cards: how many processes train together, how they share the rows of a step, and when the model is split."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fitune.core.errors import UserError
from fitune.core.forecast.pace import Pace
from fitune.core.machine import Gpu
from fitune.core.memory import Budget, Shape
from fitune.core.recipe import Recipe, changed, value_of

WHOLE_STATES = ("adamw_torch", "adamw_torch_fused", "sgd")
"""Optimizers that take weights which are split over cards (DTensor)."""
WHOLE_SHARE, SPLIT_SHARE = 0.96, 0.75
"""Share of its pace alone that a card keeps beside others that hold the whole model, or each a part. Two H200 with
NVLink, an 8B: 0.95 with short rows and 0.98 with full ones; split 0.53 and 0.90, as a layer is gathered in the same
time whatever the rows hold (bench/results/cards_h200_2026-11-30.jsonl). With slower links it is less."""
LOWEST_SHARE = 0.5
"""The same at the least, with slow links: an assumption."""
SPLIT_FIELDS = ("run.shard", "train.optimizer", "train.offload_layers", "train.micro_tokens")
"""The fields that change with a decision for or against a split."""


def ranks_of(recipe: Recipe, gpus: Sequence[Gpu]) -> int:
    """The processes that train together: one a card. Without a card as many as the recipe asks for."""
    asked = recipe.run.gpus
    return len(gpus) or (asked if isinstance(asked, int) else 1)


def for_split(recipe: Recipe, gpus: Sequence[Gpu], backend: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(group, changes, why) for each setting that a model split over the cards does otherwise.

    Raises UserError for a model that can't be split.
    """
    train = recipe.train
    if recipe.run.shard is not True:
        return
    if len(gpus) < 2:
        yield "run", {"shard": False}, "a model is split over two cards or more."
        return
    if why := _why_not_split(recipe, backend):
        raise UserError(f"run.shard = true: {why}.", 'Set run.shard = "auto".')
    if train.optimizer not in WHOLE_STATES:
        yield "train", {"optimizer": "adamw_torch_fused"}, "8-bit and paged optimizers can't split their states."
    if train.offload_layers is not None:
        yield "train", {"offload_layers": None}, "a model split over the cards keeps no layers in host RAM."


def _why_not_split(recipe: Recipe, backend: str, stored_as: str | None = None) -> str | None:
    """The reason why a model can't be split over cards; None if it can."""
    quant = stored_as or recipe.model.quant
    if quant == "int8":
        return "a model in 8 bits can't be split"
    if backend == "trl" and quant != "bf16":
        return 'with train.backend = "trl" the weights of a model in 4 bits would stay whole on each card'
    return None


def can_be_split(recipe: Recipe, shape: Shape) -> bool:
    """True if a model can be split over cards as it is stored."""
    return _why_not_split(recipe, recipe.train.backend, shape.stored_as) is None


def split_recipe(recipe: Recipe) -> Recipe:
    """The recipe with its model split over the cards, and what goes with that."""
    states = recipe.train.optimizer if recipe.train.optimizer in WHOLE_STATES else "adamw_torch_fused"
    return changed(recipe, {"run.shard": True, "train.optimizer": states, "train.offload_layers": None})


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


def share_of_one(recipe: Recipe, ranks: int) -> Recipe:
    """The recipe as one of several cards sees it: its share of the micro-batches of a step."""
    return changed(recipe, {"train.grad_accum": max(1, recipe.train.grad_accum // ranks)}) if ranks > 1 else recipe


def with_split_decided(
    recipe: Recipe, shape: Shape, ranks: int, budget_of: Callable[[Recipe], Budget]
) -> tuple[Recipe, Budget]:
    """The recipe with run.shard as it will be, and the budget of each card: whole wherever a card can hold that."""
    whole = changed(recipe, {"run.shard": False}) if recipe.run.shard == "auto" else recipe
    if recipe.run.shard is True and ranks > 1:
        whole = split_recipe(recipe)
    budget = budget_of(whole)
    if recipe.run.shard != "auto" or ranks == 1 or budget.verdict == "fits":
        return whole, budget
    if not can_be_split(recipe, shape):
        return whole, budget
    split = split_recipe(recipe)
    of_part = budget_of(split)
    is_better = of_part.verdict == "fits" or (budget.verdict == "over" and of_part.verdict == "tight")
    return (split, of_part) if is_better else (whole, budget)


def decisions(asked: Recipe, decided: Recipe) -> dict[str, Any]:
    """What a decision for or against a split has changed in a recipe, by `group.key`."""
    return {name: value_of(decided, name) for name in SPLIT_FIELDS if value_of(decided, name) != value_of(asked, name)}


def pace_of_all(pace: Pace, recipe: Recipe, ranks: int) -> Pace:
    """The pace of several cards together. pace: that of one alone with its share of a step."""
    if ranks == 1 or not (pace.tokens_per_s and pace.low_tokens_per_s and pace.high_tokens_per_s):
        return pace
    share = SPLIT_SHARE if recipe.run.shard is True else WHOLE_SHARE
    return replace(
        pace,
        low_tokens_per_s=ranks * LOWEST_SHARE * pace.low_tokens_per_s,
        tokens_per_s=ranks * share * pace.tokens_per_s,
        high_tokens_per_s=ranks * pace.high_tokens_per_s,
        why=f"{pace.why}; {ranks} cards, each at {share:.0%} of its pace alone",
    )
