"""What several cards that train together hold beside the parts of a training on one: for what they send each other."""

from dataclasses import replace

from fitune.core.memory.plan import MemoryPlan, Term, gib
from fitune.core.memory.weights import offloaded_layer_bytes
from fitune.core.units import GIB

LINKS_BYTES = round(0.76 * GIB)
"""NCCL's channels and kernels, outside torch: what the driver books on a process minus what torch reserved was 1.55 GiB
in each of ten processes, whole and split, and 0.79 GiB in one alone (two H200 with NVLink, torch 2.11.0, 2026-11-29).
Cards with fewer links have fewer channels: hence the lower bound."""
LINKS_LESS, LINKS_MORE = round(0.56 * GIB), round(0.1 * GIB)
GATHERED_LAYERS = 3
"""Whole layers at once: the one that computes, the next, and the buffer in which the next arrives (torch 2.11,
_fsdp_param_group.py, wait_for_unshard). Derived, not measured."""


def links_term(plan: MemoryPlan) -> Term:
    """Memory of the cards' links, outside torch."""
    amount = LINKS_BYTES if plan.ranks > 1 else 0
    why = f"channels to the other cards, {gib(LINKS_BYTES)} measured on two H200"
    return Term("links", amount, why, LINKS_LESS if amount else 0, LINKS_MORE if amount else 0)


def gathered_term(plan: MemoryPlan) -> Term:
    """The layers of a split model that are whole at a time, with their adapter in 16 bits."""
    layers = len(plan.shape.layers)
    a_layer = offloaded_layer_bytes(plan) + 2 * plan.lora_params / layers
    amount = round(min(GATHERED_LAYERS, layers) * a_layer) if plan.shards > 1 else 0
    return Term("gathered layers", amount, f"{GATHERED_LAYERS} layers whole at a time", more=amount // GATHERED_LAYERS)


def sent_term(gradients: Term) -> Term:
    """The gradients of whole models, which stay in the buffer that they are sent from, and a copy: 8 layers of a 3B
    with a rank of 64 took exactly that much more (two H200, torch 2.11.0, 2026-11-30)."""
    return replace(gradients, bytes=2 * gradients.bytes, why=f"{gradients.why}, and a copy to send to the other cards")
