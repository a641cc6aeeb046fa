"""The memory budget of a recipe, itemised: pure arithmetic, fast enough to be computed at every keystroke.

`total_bytes` is the peak that nvidia-smi would show for the process. It is the largest of a run's moments (load, a
layer's backward pass, the loss, the optimizer's step, evaluation), never their sum. Each term documents its derivation.
"""

from dataclasses import dataclass, replace
from typing import Literal

from fitune.core.memory import activations, cards, loss, offload, weights
from fitune.core.memory.disk import checkpoint_bytes, disk_bytes, download_bytes
from fitune.core.memory.plan import FAST_UNSLOTH, Card, MemoryPlan, Term, gib, make_plan
from fitune.core.memory.shapes import Shape
from fitune.core.recipe import BEGINS_FILLED, Recipe
from fitune.core.units import GIB, MIB

__all__ = ["Budget", "BudgetPart", "Card", "estimate", "in_ram", "safe_bytes", "verdict_of"]

CONTEXT_BYTES = round(0.740 * GIB)
"""CUDA context with loaded kernels, outside torch: what the driver books on the process minus what torch reserved, the
same in all measured rows of an H100. Other cards and drivers differ; a smaller card's is smaller."""
OFFLOAD_CONTEXT_BYTES = round(0.069 * GIB)
"""Extra bytes in Unsloth's measured rows when layer inputs are offloaded to host RAM."""
WIDE_HEAD, WIDE_HEAD_CONTEXT_BYTES = 256, round(0.25 * GIB)
"""Extra bytes where Unsloth compiles Gemma 3, whose heads are so wide: 0.22 GiB, 0.37 after a second length (H200)."""
CONTEXT_LESS, CONTEXT_MORE = round(0.35 * GIB), round(0.15 * GIB)
ROPE_TOKENS = 32_768
"""Positions whose cosines and sines Unsloth tabulates at load, in 16 bits (models/llama.py, LlamaRotaryEmbedding)."""
SLACK = {
    ("unsloth", "host"): (0.10, 0.42),
    ("unsloth", "card"): (0.167, 0.06),
    ("unsloth", "off"): (0.06, 0.0),
    ("trl", "card"): (0.04, 0.28),
    ("trl", "off"): (0.06, 0.0),
}
"""GiB, and share of the layers' inputs, by backend and checkpoints: fitted with expandable segments so that no fitted
row (bench/score_budget.py) lies more than 1 % above."""
NOT_BACKWARD_BYTES = round(0.02 * GIB)
"""More with TRL and checkpoints where no layer's backward pass is the peak: SmolLM2's loss, Adafactor's step."""
MOST_OF_INPUTS_BYTES = round(0.16 * GIB)
"""With checkpoints in host RAM that share ends here: rows of 32,768 and 131,072 tokens lost 0.1 GiB in all
(bench/results/long_h200_2026-11-30.jsonl)."""
FEW_LAYERS = 6
"""TRL with checkpoints loses at least so many times a layer's inputs between tensors: fitted to models of 4 to 16
layers (bench/results/families_h200_2026-11-29.jsonl)."""
COMPILED_FIXED_BYTES, COMPILED_LOST = 32 * MIB, 2.5
"""Bytes that Unsloth's compiled layers lose between tensors: in all, and for each token and element of the widest MLP.
Fitted to the rows of 8,192 tokens there."""
SPLIT_BLOCKS = (0.09, 0.52)
"""The same for CUDA that can't grow blocks in place: fitted to TRL rows without expandable segments."""
SLACK_OF_PEAK = 0.002
SOLVER_BYTES = round(0.09 * GIB)
"""The library that decomposes matrices, once it is loaded: what PiSSA and LoRA-FA took more than LoRA on an H200."""
TUNING_BYTES = round(0.2 * GIB)
"""Triton clears a buffer of 256 MB between the kernels it times. It shows only where the loss is the peak."""
RUNTIME_CPU_BYTES, RUNTIME_CPU_LESS = round(0.96 * GIB), round(0.13 * GIB)
"""Resident memory of a process that has imported torch, transformers, peft and trl; and by how much less it may be:
0.83 GiB while a model is loaded (bench/results/cpu_2026-11-29.jsonl)."""
HEAP_CPU_BYTES, GROWTH_CPU_BYTES = round(0.09 * GIB), round(1.0 * GIB)
"""Memory that the C library holds between the tensors of a CPU training, and by how much more it may grow. Fitted to
bench/results/cpu_2026-11-29.jsonl, where large blocks go back to the system at once (core/worker/memory_use.py,
return_freed_blocks). Just below the size from which the worker does that, it grew by 0.95 GiB: 660 tokens at once of a
135M took 2.96 GiB, and 1.82 GiB with blocks that go back (torch 2.11.0, glibc 2.36, 2026-11-29)."""
MIN_SLACK_BYTES = round(0.03 * GIB)
"""Memory lost between tensors even when the card is full: torch gives the rest back before it raises out of memory."""
DRIVER_BYTES = round(0.1 * GIB)
"""Memory that a process costs the card beyond what the driver counts for it: measured on an H100."""
GATHERED_LOST = 0.067
"""Share of the gathered layers of a split model that lies in gaps: six models of 3B to 70B, two H200, 2026-11-30."""
SAFETY = 0.005
"""Free memory within this share of the limit counts as tight, never as fits."""


@dataclass(frozen=True, slots=True)
class BudgetPart:
    """One item of the budget."""

    name: str
    """The kind of memory, as a word: weights, activations ..."""
    bytes: int
    """Bytes that it takes; below zero for a correction by past runs."""
    why: str
    """A sentence on the term and its source."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory of a run, in bytes. The parts sum to `total_bytes`; low and high bound elastic and unmeasured terms."""

    total_bytes: int
    low_bytes: int
    high_bytes: int
    host_bytes: int
    """Pinned host RAM: offloaded checkpoints and layers."""
    disk_bytes: int
    download_bytes: int
    """The model's part of disk_bytes: nothing where it is here already."""
    checkpoint_bytes: int
    """The part of one checkpoint."""
    free_bytes: int
    """Memory that the run may take: the card's free memory or run.vram_limit_gib, on the CPU the free RAM; 0 is
    unknown."""
    needed_bytes: int
    """The total with the smallest slack that torch can work with."""
    uncertainty_bytes: int
    """Bytes by which the terms may be too low, but for slack, which shrinks where a card is full."""
    verdict: Literal["fits", "tight", "over"]
    """tight: `needed_bytes` is below the limit, but not with the uncertainty and the safety margin. Where it fits,
    `high_bytes` is not above the limit."""
    parts: tuple[BudgetPart, ...]
    moment: str
    """The moment of the peak."""
    offloaded_layers: int
    """Layers in host RAM, resolved where the recipe says auto."""
    refused: bool
    """True if Unsloth would refuse to load the model, since its "auto" finds no room. The verdict is then over."""


def estimate(
    shape: Shape, recipe: Recipe, card: Card | None, tokens: int | None = None, micro_tokens: int | None = None,
    pixels: int = 0,
) -> Budget:  # fmt: skip
    """The budget of a recipe on a card.

    card: None means training on the CPU, in host RAM. tokens: length of the longest row; None counts rows as full.
    micro_tokens: tokens of the largest micro-batch; None counts each of its rows as the longest. pixels: values of the
    pixels of its images. Raises UserError for a model or modules that can't be trained.
    """
    plan = make_plan(shape, recipe, card, tokens, micro_tokens, pixels)
    context, links = _context(plan), cards.links_term(plan)
    outside_bytes = context.bytes + links.bytes
    plan = offload.plan_offloading(plan, outside_bytes)
    moments = [moment for size in _sizes(plan, outside_bytes) for moment in _moments(size, outside_bytes)]
    moment, terms = max(moments, key=lambda held: sum(term.bytes for term in held[1]))
    limit = _limit(recipe, card)
    uncertainty = sum(term.more for term in (*terms, context, links))
    slack = _slack(plan, moment, terms, limit - DRIVER_BYTES - outside_bytes if limit else None)
    kept = [term for term in (*terms, slack, context, links) if term.bytes]
    total = sum(term.bytes for term in kept)
    needed = total - slack.bytes + min(slack.bytes, MIN_SLACK_BYTES)
    verdict = "over" if plan.refused else verdict_of(needed, uncertainty, limit)
    high = total + sum(term.more for term in kept)
    return Budget(
        total_bytes=total,
        low_bytes=total - sum(term.less for term in kept),
        high_bytes=min(high, limit) if verdict == "fits" else high,  # unused blocks go before an allocation fails
        host_bytes=offload.host_bytes(plan) if card else 0,
        disk_bytes=disk_bytes(plan),
        download_bytes=download_bytes(plan),
        checkpoint_bytes=checkpoint_bytes(plan),
        free_bytes=limit,
        needed_bytes=needed,
        uncertainty_bytes=uncertainty,
        verdict=verdict,
        parts=tuple(BudgetPart(term.name, term.bytes, term.why) for term in kept),
        moment=moment,
        offloaded_layers=len(shape.layers) - plan.resident_layers,
        refused=plan.refused,
    )


def in_ram(budget: Budget, ram_bytes: int | None) -> Budget:
    """The budget of a training on the CPU, judged by the free RAM; None is unknown and judges nothing."""
    if ram_bytes is None:
        return budget
    verdict: Literal["fits", "tight", "over"] = "fits" if budget.high_bytes <= ram_bytes else "tight"
    return replace(budget, free_bytes=ram_bytes, verdict="over" if budget.total_bytes > ram_bytes else verdict)


def _sizes(plan: MemoryPlan, outside_bytes: int) -> list[MemoryPlan]:
    """The plan with each size of a micro-batch that can be the peak: the largest, and one not much smaller whose loss
    is taken in one piece. With 2,048 tokens the logits of a Llama took 1.0 GiB, with 4,096 half of that (H200,
    2026-11-29)."""
    if not (plan.unsloth and plan.card and plan.sizes_differ):
        return [plan]
    standing = outside_bytes + sum(term.bytes for term in _frozen(plan))
    whole = loss.unchunked_tokens(plan, standing)
    return [plan, replace(plan, tokens=whole)] if plan.tokens // 2 < whole < plan.tokens else [plan]


def _frozen(plan: MemoryPlan) -> list[Term]:
    """What the model takes from its load on."""
    return [
        weights.layers_term(plan), weights.layer_slots_term(plan), weights.experts_term(plan),
        weights.embeddings_term(plan), weights.image_tower_term(plan),
        weights.lora_term(plan), weights.trained_embeddings_term(plan),
    ]  # fmt: skip


def _moments(plan: MemoryPlan, outside_bytes: int) -> list[tuple[str, list[Term]]]:
    """Each moment that can be the peak, with all that the process holds then, except allocator slack and what is
    outside torch: context and links."""
    frozen = _frozen(plan)
    resident = [
        *frozen, weights.optimizer_term(plan), activations.scratch_term(plan), _workspace(plan), _heap(plan),
        cards.gathered_term(plan), weights.pixels_term(plan),
    ]  # fmt: skip
    gradients = weights.gradients_term(plan)
    if plan.ranks > plan.shards:  # they stay where they are sent from
        resident, gradients = [*resident, cards.sent_term(gradients)], replace(gradients, bytes=0)
    *kept, backward = activations.activation_terms(plan)
    buffers = [
        activations.dequantization_term(plan), activations.dora_term(plan), activations.mask_term(plan),
        loss.logits_term(plan),
    ]  # fmt: skip
    standing = outside_bytes + sum(term.bytes for term in frozen)
    # With accumulation all gradients are there from the second micro-batch on; without, they grow as inputs are freed.
    accumulating = [gradients] if plan.recipe.train.grad_accum > 1 else []
    head, trial = loss.loss_term(plan, standing), loss.padding_trial_term(plan)
    moments = [
        ("load", [*frozen, weights.load_scratch_term(plan)]),
        ("loss", [*resident, *accumulating, *kept, head]),
        ("compiling the loss", [*frozen, activations.scratch_term(plan), _workspace(plan), *kept, head, trial]),
        ("images", [*resident, *accumulating, weights.tower_pass_term(plan)]),
        ("optimizer step", [*resident, gradients, weights.step_scratch_term(plan)]),
        ("embedding backward", [*resident, gradients, *kept, weights.embedding_gradient_term(plan)]),
        ("evaluation", [*resident, loss.loss_term(plan, standing, evaluating=True)]),
    ]
    if (offload.offloads_checkpoints(plan) and not plan.skipped_layers) or accumulating:
        return [*moments, ("layer backward", [*resident, gradients, *kept, backward, *buffers])]
    first = ("layer backward", [*resident, *kept, backward, *buffers])
    return [*moments, first, ("layer backward", [*resident, gradients, backward, *buffers])]


def _workspace(plan: MemoryPlan) -> Term:
    """cuBLAS workspace: 32 MiB on compute capability 9.0 and later, about 8 MiB below (torch's CUDABlas defaults), once
    for the forward and once for the backward thread; and Unsloth's table of rotary positions."""
    if plan.card is None:
        return Term("workspace", 0, "")
    capability = plan.card.compute_capability or (8, 0)
    amount = 2 * (32 if capability >= (9, 0) else 8) * MIB
    if plan.unsloth and plan.shape.model_type in FAST_UNSLOTH:
        amount += 4 * max(ROPE_TOKENS, plan.length) * plan.shape.head_dim
    return Term("workspace", amount, "scratch space of the matrix kernels, tables", less=amount // 2)


def _heap(plan: MemoryPlan) -> Term:
    """Blocks of the C library's heap in which there are gaps, on a CPU."""
    amount = HEAP_CPU_BYTES if plan.card is None else 0
    return Term("heap", amount, "gaps between the small tensors", less=amount)


def _context(plan: MemoryPlan) -> Term:
    if plan.card is None:
        why = "torch, transformers, peft and trl in memory; their heap grows"
        return Term("Python and libraries", RUNTIME_CPU_BYTES, why, RUNTIME_CPU_LESS, GROWTH_CPU_BYTES)
    copies = offload.offloads_checkpoints(plan) or plan.ranks > 1
    solves = plan.recipe.lora.init in BEGINS_FILLED or plan.recipe.train.optimizer == "lora_fa"
    amount = CONTEXT_BYTES + (OFFLOAD_CONTEXT_BYTES if copies else 0) + (SOLVER_BYTES if solves else 0)
    if plan.unsloth and not plan.hand_written and plan.shape.head_dim >= WIDE_HEAD:
        amount += WIDE_HEAD_CONTEXT_BYTES
    why = f"driver and kernels on the card, {gib(amount)} measured on an H100; smaller on small cards"
    return Term("CUDA context", amount, why, CONTEXT_LESS, CONTEXT_MORE)


def _slack(plan: MemoryPlan, moment: str, terms: list[Term], room_bytes: int | None) -> Term:
    """Allocator slack: memory that torch has reserved minus allocated. It grows with the tensors that come and go with
    the layers' inputs, differs by 0.03 GiB from run to run, and shrinks where a card's `room_bytes` leaves no more."""
    if plan.card is None:
        return Term("allocator slack", 0, "")
    backend, objective = "unsloth" if plan.unsloth else "trl", plan.recipe.train.objective
    fixed_gib, share = SLACK[backend, plan.checkpoints] if plan.card.expandable_segments else SPLIT_BLOCKS
    inputs = sum(term.bytes for term in terms if term.name == "layer inputs")
    few_layers = FEW_LAYERS * plan.stream_bytes * plan.tokens * plan.shape.hidden if share and backend == "trl" else 0
    by_inputs = min(share * inputs, MOST_OF_INPUTS_BYTES) if plan.checkpoints == "host" else share * inputs
    gathered = sum(term.bytes for term in terms if term.name == "gathered layers")
    lost = fixed_gib * GIB + max(by_inputs, few_layers) + GATHERED_LOST * gathered
    if plan.unsloth and not plan.hand_written and plan.checkpoints == "host":
        lost = max(lost, COMPILED_FIXED_BYTES + COMPILED_LOST * plan.tokens * activations.widest_mlp(plan))
    amount = round(lost + SLACK_OF_PEAK * sum(term.bytes for term in terms))
    by_trl = (backend, plan.checkpoints) == ("trl", "card")
    amount += NOT_BACKWARD_BYTES if by_trl and moment != "layer backward" else 0
    if moment == "loss" and (objective == "orpo" or by_trl):
        amount += TUNING_BYTES
    spare = None if room_bytes is None else room_bytes - sum(term.bytes for term in terms)
    if spare is not None and -DRIVER_BYTES <= spare < amount:
        amount = max(MIN_SLACK_BYTES, spare)
    return Term("allocator slack", amount, "memory torch holds between tensors", less=amount // 2, more=amount // 2)


def _limit(recipe: Recipe, card: Card | None) -> int:
    free = card.free_bytes if card else 0
    limit = recipe.run.vram_limit_gib
    return free if limit is None or card is None else min(free, int(limit * GIB))


def verdict_of(needed: int, uncertainty: int, limit: int) -> Literal["fits", "tight", "over"]:
    """The verdict on `needed` bytes, with their uncertainty, against the limit of memory; a limit of 0 is unknown."""
    if needed > limit > 0:
        return "over"
    return "fits" if limit and _safe(needed, uncertainty) <= limit else "tight"


def safe_bytes(budget: Budget) -> int:
    """The amount of free memory with which a run surely fits."""
    return _safe(budget.needed_bytes, budget.uncertainty_bytes)


def _safe(needed: int, uncertainty: int) -> int:
    return round((needed + uncertainty + DRIVER_BYTES) * (1 + SAFETY))
