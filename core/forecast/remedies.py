"""What to change when a recipe does not fit, the gentlest first, each with the bytes that it really saves.

A saving is the difference of two budgets, never a rule of thumb; a change that does not lower the peak is left out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fitune.core.forecast.candidates import changed
from fitune.core.forecast.history import NONE, Experience
from fitune.core.memory import Budget, Card, Shape, estimate
from fitune.core.memory.plan import GIB
from fitune.core.recipe import Recipe, problems

WORTH_BYTES = 32 * 2**20
"""A smaller saving is below what the budget can tell apart."""
STATES_32BIT = ("adamw_torch", "adamw_torch_fused", "paged_adamw_32bit", "schedule_free_adamw")
SHORTEST_ROW, LOWEST_RANK = 512, 8
"""Below these a remedy would hurt more than a smaller model does."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change of the recipe, by `group.key`; what it saves on the card; what it costs, in words."""

    set: dict[str, Any]
    saves_bytes: int
    costs: str


def remedies(
    shape: Shape,
    recipe: Recipe,
    card: Card | None,
    tokens: int | None = None,
    experience: Experience = NONE,
    unsloth_works: bool = True,
) -> list[Remedy]:
    """The changes that lower the peak, ordered by how little they hurt. Arguments as for core.memory.budget.estimate.

    experience: what earlier runs taught; budgets are corrected by it. unsloth_works: whether the card can be used with
    it. What would contradict another setting is left out.
    """

    def budget(changes: Mapping[str, Any]) -> Budget:
        return experience.budget(estimate(shape, changed(recipe, changes), card, tokens))

    before = budget({})
    found = []
    for change, costs in _candidates(shape, recipe, card, unsloth_works):
        if problems(changed(recipe, change)):
            continue
        if (saved := before.total_bytes - budget(change).total_bytes) >= WORTH_BYTES:
            found.append(Remedy(change, saved, costs))
    if offload := _offload(shape, recipe, card, before, budget):
        found.insert(sum(1 for each in found if _is_gentle(each)), offload)
    return found


def _candidates(
    shape: Shape, recipe: Recipe, card: Card | None, unsloth_works: bool
) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes that keep the result first, those that touch what is learned last."""
    yield from _without_loss(recipe, card, unsloth_works)
    lora, model = recipe.lora, recipe.model
    if lora.dora:
        yield {"lora.dora": False}, "Plain LoRA: a little less faithful at low rank, and faster."
    if model.quant != "nf4" and shape.stored_as is None and card is not None:
        yield {"model.quant": "nf4"}, "4-bit base weights (QLoRA): usually a hardly visible loss of quality."
    if lora.r >= 2 * LOWEST_RANK:
        yield {"lora.r": lora.r // 2}, f"The adapter can learn less: rank {lora.r // 2} instead of {lora.r}."
    if model.max_seq_length >= 2 * SHORTEST_ROW:
        half = model.max_seq_length // 2
        yield {"model.max_seq_length": half}, f"Rows longer than {half} tokens are cut: their ends are not learned."


def _without_loss(recipe: Recipe, card: Card | None, unsloth_works: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes after which the same weights are learned from the same batches, up to rounding."""
    train = recipe.train
    rows = train.micro_batch * train.grad_accum
    for micro in dict.fromkeys((train.micro_batch // 2, 1)):
        if 0 < micro < train.micro_batch and rows % micro == 0:
            change = {"train.micro_batch": micro, "train.grad_accum": rows // micro}
            price = "Slower, as the card is less busy" if card else "The same work in smaller pieces"
            yield change, f"{price}; the effective batch stays {rows} rows."
    if train.backend == "trl" and card is not None and unsloth_works:
        yield {"train.backend": "unsloth"}, "None but Unsloth's own limits: about twice as fast as well."
    unsloth = card is not None and train.backend != "trl"
    if train.checkpointing == "off" and not unsloth:
        yield {"train.checkpointing": "on"}, "About a third slower: activations are computed twice."
    elif train.checkpointing != "unsloth" and unsloth:
        price = "About a third slower" if train.checkpointing == "off" else "Hardly slower"
        yield {"train.checkpointing": "unsloth"}, f"{price}; needs pinned host RAM for the layers' inputs."
    if train.optimizer in STATES_32BIT and card is not None:
        yield {"train.optimizer": "adamw_8bit"}, "Optimizer states in 8 bits: no loss you will notice."


def _is_gentle(remedy: Remedy) -> bool:
    return all(name.startswith("train.") for name in remedy.set)


def can_offload(shape: Shape, recipe: Recipe, card: Card | None) -> bool:
    """Whether layers can be kept in host RAM: only Unsloth does it, only with checkpointing, and not in 8 bits."""
    train = recipe.train
    able = card is not None and train.backend != "trl" and train.checkpointing != "off"
    return able and "int8" not in (recipe.model.quant, shape.stored_as) and len(shape.layers) > 1


def fewest_layers(most: int, fits: Callable[[int], bool]) -> int:
    """The fewest layers, from 1 to `most`, with which `fits` is true; `most` if with none."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _offload(
    shape: Shape, recipe: Recipe, card: Card | None, before: Budget, budget: Callable[[Mapping[str, Any]], Budget]
) -> Remedy | None:
    """The fewest layers in host RAM that make it fit, or all but one."""
    if not can_offload(shape, recipe, card) or recipe.train.offload_layers is not None:
        return None
    most = len(shape.layers) - 1
    # Where it fits already there is no fewest: half of the layers shows what is to be had.
    layers = (
        max(1, most // 2)
        if before.verdict == "fits"
        else fewest_layers(most, lambda count: budget({"train.offload_layers": count}).verdict == "fits")
    )
    after = budget({"train.offload_layers": layers})
    if (saved := before.total_bytes - after.total_bytes) < WORTH_BYTES:
        return None
    more_host = (after.host_bytes - before.host_bytes) / GIB
    costs = f"{more_host:.1f} GiB of host RAM; a few percent slower on fast PCIe, more on slow."
    return Remedy({"train.offload_layers": layers}, saved, costs)
