"""Remedies: changes for a recipe that does not fit, the gentlest first, each with the bytes that it really saves.

A saving is the difference of two budgets, never a rule of thumb; a change that does not lower the peak is left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitune.core.forecast.forecast import Forecast, forecast
from fitune.core.forecast.site import Site
from fitune.core.memory import Budget, Card, Shape
from fitune.core.recipe import Recipe, changed, find_contradictions
from fitune.core.units import GIB

WORTH_BYTES = 52 * 2**20
"""A smaller saving is below what the budget can tell apart, and would be told as 0.0 GiB."""
STATES_32BIT = ("adamw_torch", "adamw_torch_fused", "paged_adamw_32bit", "schedule_free_adamw")
SHORTEST_ROW, LOWEST_RANK = 512, 8
"""Below these a remedy would hurt more than a smaller model does."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of the recipe, by `group.key`; what it saves of what is short; what it costs, in words."""

    set: dict[str, Any]
    """The change of the recipe, by `group.key`."""
    saves_bytes: int
    """Bytes of what is short that the change saves."""
    costs: str
    """The cost of the change, in words."""


def remedies(now: Forecast) -> list[Remedy]:
    """The changes that lower what is short at the site, ordered by how little they hurt: memory of the card (RAM on a
    processor), or else host RAM. What would contradict another setting is left out, and so is what helps too little.
    """
    short = now.memory_shortage
    if short and short.of == "host RAM":
        return _for_host_ram(now)
    found = []
    for change, costs in _candidates(now.shape, now.decided, now.site):
        if find_contradictions(changed(now.decided, change)):
            continue
        after = _after(now, change)
        if (saved := now.budget.total_bytes - after.budget.total_bytes) >= WORTH_BYTES:
            found.append(Remedy(change, saved, costs))
    if offload := _offload(now):
        found.insert(sum(1 for each in found if _is_gentle(each)), offload)
    return found


def together(now: Forecast, ways: Sequence[Remedy]) -> Forecast:
    """The forecast with all of these remedies; one that contradicts those before it is left out."""
    changes: dict[str, Any] = {}
    for way in ways:
        if not find_contradictions(changed(now.decided, {**changes, **way.set})):
            changes |= way.set
    return _after(now, changes)


def _after(now: Forecast, changes: Mapping[str, Any]) -> Forecast:
    """The forecast with these changes, for the same rows."""
    return forecast(now.shape, changed(now.recipe, changes), now.site, now.rows)


def _for_host_ram(now: Forecast) -> list[Remedy]:
    """Changes that pin less host RAM, and with which the card still has room."""
    changes: list[tuple[dict[str, Any], str]] = []
    if now.decided.train.checkpointing == "unsloth":
        changes.append(({"train.checkpointing": "on"}, "Layer inputs stay on the card: hardly another speed."))
    if now.budget.offloaded_layers:
        changes.append(({"train.offload_layers": None}, "All layers stay on the card: faster, if they have room."))
    found = []
    for change, costs in changes:
        after = _after(now, change)
        saved = now.budget.host_bytes - after.budget.host_bytes
        if saved >= WORTH_BYTES and after.budget.verdict == "fits" and not find_contradictions(after.recipe):
            found.append(Remedy(change, saved, costs))
    return found


def _candidates(shape: Shape, recipe: Recipe, site: Site) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes that keep the result first, those that touch what is learned last."""
    yield from _without_loss(shape, recipe, site)
    lora, model = recipe.lora, recipe.model
    if recipe.trains_all:
        yield {"train.weights": "adapter"}, "An adapter beside the frozen model: it learns hardly less from few rows."
    if lora.dora:
        yield {"lora.dora": False}, "Plain LoRA: a little less faithful at low rank, and faster."
    if model.quant != "nf4" and shape.stored_as is None and site.card is not None:
        yield {"model.quant": "nf4"}, "4-bit base weights (QLoRA): usually a hardly visible loss of quality."
    if lora.r >= 2 * LOWEST_RANK:
        yield {"lora.r": lora.r // 2}, f"The adapter can learn less: rank {lora.r // 2} instead of {lora.r}."
    if model.max_seq_length >= 2 * SHORTEST_ROW:
        half = model.max_seq_length // 2
        yield {"model.max_seq_length": half}, f"Rows longer than {half} tokens are cut: their ends are not learned."


def _without_loss(shape: Shape, recipe: Recipe, site: Site) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes after which the same weights are learned from the same batches, up to rounding."""
    train, card = recipe.train, site.card
    rows = train.micro_batch * train.grad_accum
    for micro in dict.fromkeys((train.micro_batch // 2, 1)):
        if 0 < micro < train.micro_batch and rows % micro == 0:
            change = {"train.micro_batch": micro, "train.grad_accum": rows // micro}
            price = "Slower, as the card is less busy" if card else "The same work in smaller pieces"
            yield change, f"{price}; the effective batch stays {rows} rows."
    if train.backend == "trl" and card is not None and site.unsloth_works:
        yield {"train.backend": "unsloth"}, "None but Unsloth's own limits: about twice as fast as well."
    unsloth = card is not None and train.backend != "trl"
    if train.checkpointing == "off" and not unsloth:
        yield {"train.checkpointing": "on"}, "About a third slower: activations are computed twice."
    elif train.checkpointing != "unsloth" and unsloth:
        price = "About a third slower" if train.checkpointing == "off" else "Hardly slower"
        yield {"train.checkpointing": "unsloth"}, f"{price}; needs pinned host RAM for the layers' inputs."
    if train.checkpoint_skip_layers is not None:
        yield {"train.checkpoint_skip_layers": None}, "Slower, as the activations of all layers are recomputed."
    if can_tile(shape, recipe, site) and not train.tiled_mlp:
        yield (
            {"train.tiled_mlp": True},
            "Only its memory was tried on a card: MLPs take long rows in tiles, a little slower.",
        )
    if train.optimizer in STATES_32BIT and card is not None:
        yield {"train.optimizer": "adamw_8bit"}, "Optimizer states in 8 bits: no loss you will notice."
    elif train.optimizer == "adamw_8bit" and card is not None:
        yield {"train.optimizer": "paged_adamw_8bit"}, "Optimizer states move to host RAM where the card is full."


def _is_gentle(remedy: Remedy) -> bool:
    return all(name.startswith("train.") for name in remedy.set)


def can_offload(shape: Shape, recipe: Recipe, card: Card | None) -> bool:
    """True if layers can be kept in host RAM: only Unsloth does it, only with checkpointing, not in 8 bits, and not
    where they are split over cards."""
    train = recipe.train
    able = card is not None and train.backend != "trl" and train.checkpointing != "off" and recipe.run.shard is not True
    return able and "int8" not in (recipe.model.quant, shape.stored_as) and len(shape.layers) > 1


def can_tile(shape: Shape, recipe: Recipe, site: Site) -> bool:
    """True if MLPs can be computed in tiles: only Unsloth does it, not those of experts; tried on one card."""
    able = site.card is not None and recipe.train.backend != "trl" and site.ranks == 1
    return able and not shape.expert_params


def fewest_layers(most: int, fits: Callable[[int], bool]) -> int:
    """The fewest layers, from 1 to `most`, with which `fits` is true; `most` if with none."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _offload(now: Forecast) -> Remedy | None:
    """The fewest layers in host RAM that make it fit, or all but one; more than the recipe names, where these are too
    few."""
    asked, is_fit = now.decided.train.offload_layers, now.budget.verdict == "fits"
    most = len(now.shape.layers) - 1
    too_few = isinstance(asked, int) and asked < most and not is_fit
    if not can_offload(now.shape, now.decided, now.site.card) or (asked is not None and not too_few):
        return None

    def after(layers: int) -> Budget:
        return _after(now, {"train.offload_layers": layers}).budget

    # Where it fits already there is no fewest: half of the layers shows what is to be had.
    layers = max(1, most // 2) if is_fit else fewest_layers(most, lambda count: after(count).verdict == "fits")
    better = after(layers)
    if (saved := now.budget.total_bytes - better.total_bytes) < WORTH_BYTES:
        return None
    more_host = (better.host_bytes - now.budget.host_bytes) / GIB
    costs = f"{more_host:.1f} GiB of host RAM; a few percent slower on fast PCIe, more on slow."
    return Remedy({"train.offload_layers": layers}, saved, costs)
