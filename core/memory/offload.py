"""Layers, embedding and checkpoints in host RAM: their number, as Unsloth decides it, and their bytes."""

from bisect import bisect_left
from dataclasses import replace

from fitune.core.memory.plan import MemoryPlan
from fitune.core.memory.weights import (
    embeddings_term,
    expert_bytes,
    experts_term,
    image_tower_term,
    layer_bytes,
    layer_slots_term,
    layers_term,
    lora_term,
    offloaded_layer_bytes,
    offloaded_layer_count,
)
from fitune.core.units import GIB, MIB


def plan_offloading(plan: MemoryPlan, context_bytes: int) -> MemoryPlan:
    """The plan with layers and input embedding moved to host RAM as the recipe asks, or as Unsloth decides on a card.

    "auto" follows unsloth_zoo 2026.10 (device_map_planner.py, plan_block_swap): a tenth of the free memory stays free
    for quantizing, then one row's reserve with a rank-16 adapter; the input embedding is offloaded first unless the
    head shares it, then the fewest layers. With 5.3 GiB free this gives the 23 of 32 layers of 8B that were observed.
    A number stops at all layers but one (unsloth models/_utils.py, trim_config_for_block_swap).
    """
    if plan.shards > 1:  # the input embedding is in host RAM, unless it is the head, too
        return replace(plan, embedding_on_card=plan.shape.tied or plan.fully_trains("embed_tokens"))
    if not plan.unsloth or plan.card is None:
        return plan
    offload_layers, total = plan.recipe.train.offload_layers, len(plan.shape.layers)
    free = _free_limit(plan) - context_bytes
    if offload_layers != "auto":
        plan = _without_embedding(plan, free - lora_term(plan).bytes)
        return replace(plan, resident_layers=max(1, total - (offload_layers or 0)))
    free = free * 9 // 10 if plan.quant == "nf4" else free
    need = _reserve_bytes(
        plan, 20 * 16 * sum(each.times * each.experts * (each.inputs + each.outputs) for each in plan.adapters)
    )
    if free - _weights_bytes(plan) >= need:
        return plan
    plan = replace(plan, embedding_on_card=plan.shape.tied)

    def leaves_room(offloaded: int) -> bool:
        candidate = replace(plan, resident_layers=total - offloaded)
        return free - _weights_bytes(candidate) - layer_slots_term(candidate).bytes >= need

    offloaded = bisect_left(range(total), True, key=leaves_room)
    on_card = plan.embedding_on_card or plan.fully_trains("embed_tokens")  # it comes back to be trained
    return replace(
        plan, embedding_on_card=on_card, resident_layers=max(1, total - offloaded), refused=offloaded == total
    )


def _without_embedding(plan: MemoryPlan, free_bytes: int) -> MemoryPlan:
    """Unsloth moves the input embedding to host RAM when one row's reserve does not fit beside the weights."""
    must_stay = plan.shape.tied or plan.fully_trains("embed_tokens")
    if must_stay or free_bytes - _weights_bytes(plan) >= _reserve_bytes(plan, 16 * plan.lora_params):
        return plan
    return replace(plan, embedding_on_card=False)


def _weights_bytes(plan: MemoryPlan) -> int:
    return sum(term(plan).bytes for term in (layers_term, experts_term, embeddings_term, image_tower_term))


def _free_limit(plan: MemoryPlan) -> int:
    assert plan.card is not None
    limit = plan.recipe.run.vram_limit_gib
    return plan.card.free_bytes if limit is None else min(plan.card.free_bytes, int(limit * GIB))


def _reserve_bytes(plan: MemoryPlan, trainable_bytes: int) -> int:
    """Memory that Unsloth wants free for a step of one row: 48 bytes x tokens x width, 2048 rows of fp32 logits, the
    trainable weights, a sixteenth more and 256 MiB (unsloth_zoo block_swap.py, estimate_training_reserve_bytes)."""
    tokens = plan.recipe.model.max_seq_length
    base = 48 * tokens * plan.shape.hidden + 4 * min(tokens, 2048) * plan.shape.vocab + trainable_bytes
    return int(base * 17 / 16) + 256 * MIB


def host_bytes(plan: MemoryPlan) -> int:
    """Pinned host RAM: offloaded layers and embedding, and each layer's input but the last one's, in 16 bits. Each of
    several cards has its own; a model that is split over them is read into host RAM as a whole by each."""
    total = len(plan.shape.layers)
    amount = (
        offloaded_layer_bytes(plan) + expert_bytes(plan) * plan.shape.expert_params / total
    ) * offloaded_layer_count(plan)
    if not plan.embedding_on_card:
        amount += 2 * plan.shape.embedding
    if offloads_checkpoints(plan):
        amount += 2 * plan.tokens * plan.shape.hidden * (total - max(1, plan.skipped_layers))
    loaded = layer_bytes(plan) + 2 * (plan.shape.params - plan.shape.linear_params) if plan.shards > 1 else 0
    return round(plan.ranks * max(amount, loaded))


def offloads_checkpoints(plan: MemoryPlan) -> bool:
    """True if layer inputs go to host RAM: Unsloth sends those larger than 2 MiB (unsloth_zoo
    gradient_checkpointing.py)."""
    return plan.checkpoints == "host" and 2 * plan.tokens * plan.shape.hidden > 2 * MIB
