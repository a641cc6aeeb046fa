"""The ways out where no plan fits: changes of what is learned that would, each with its price, and another card."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fitune.core.forecast.plans.candidates import Rejected, SearchSpace
from fitune.core.forecast.plans.remedies import can_tile
from fitune.core.forecast.plans.search import best_plan, least_short, longest_rows
from fitune.core.machine import CARD_FREE_SHARE
from fitune.core.memory import Card
from fitune.core.recipe import changed, find_contradictions
from fitune.core.units import GIB

LOWEST_RANK = 4
CARDS_GIB = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 180)
"""Sizes of cards that are sold."""


def ways_out(space: SearchSpace) -> Iterator[Rejected]:
    """Changes that would fit, each with its price: 4 bits, shorter rows, a lower rank, another card or model."""
    recipe = space.recipe
    packed = replace(space, recipe=changed(recipe, {"model.quant": "nf4"}))
    can_pack = recipe.model.quant != "nf4" and space.shape.stored_as is None and space.site.card is not None
    can_pack = can_pack and not find_contradictions(packed.recipe)
    if can_pack and (found := best_plan(packed, packed.look({}))):
        yield _way_out({"model.quant": "nf4", **found.set}, "4-bit base weights: usually hardly visible.")
    if can_tile(space.shape, recipe, space.site) and (tiled := least_short(space, {"train.tiled_mlp": True})).fits:
        yield _way_out(tiled.set, "MLPs take long rows in tiles, a little slower. Only its memory was tried on a card.")
    if shorter := longest_rows(space, {}, least_short):
        length = shorter.recipe.model.max_seq_length
        yield _way_out(shorter.set, f"Rows longer than {length} tokens are cut: their ends are not learned.")
    rank = recipe.lora.r // 2
    while rank >= LOWEST_RANK:
        if (lower := least_short(space, {"lora.r": rank})).fits and not find_contradictions(lower.recipe):
            yield _way_out(lower.set, f"The adapter can learn less: rank {rank} instead of {recipe.lora.r}.")
            break
        rank //= 2
    for there, said in ((space, "As it is"), (packed, "In 4 bits"))[: 1 + can_pack]:
        if there.site.card and (size_gib := _card_that_would_do(there)):
            yield _way_out({}, f"{said}, an idle card of {size_gib} GB would do.")
    yield _way_out({}, "A smaller model takes less of everything.")


def _way_out(changes: Mapping[str, Any], costs: str) -> Rejected:
    return Rejected(changes, changes, costs)


def _card_that_would_do(space: SearchSpace) -> int | None:
    """The smallest size of card on which some plan fits."""
    low, high = 0, len(CARDS_GIB)
    while low < high:
        middle = (low + high) // 2
        size_bytes = CARDS_GIB[middle] * GIB
        card = Card(size_bytes, int(size_bytes * CARD_FREE_SHARE))
        there = replace(space, site=replace(space.site, card=card, gpu_name=None))
        fits = least_short(there, {}).fits or best_plan(there, there.look({})) is not None
        low, high = (low, middle) if fits else (middle + 1, high)
    return CARDS_GIB[low] if low < len(CARDS_GIB) else None
