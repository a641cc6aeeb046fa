"""How much memory a recipe will take, itemised: pure arithmetic, fast enough to follow keystrokes.

`total_bytes` is the peak that nvidia-smi would show for the process. It is the largest of a run's moments (load, a
layer's backward pass, the loss, the optimizer's step, evaluation), never their sum. Derivations stand with each term.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from core.recipe_fields import Recipe
from core.shapes import Shape
from core.sizing import step, weights
from core.sizing.disk import disk_bytes
from core.sizing.plan import GIB, Card, Plan, Stack, Term, gib, resolve

__all__ = ["Budget", "Card", "Part", "Stack", "estimate", "to_json", "verdict_of"]

MIB = 2**20
CONTEXT_BYTES = round(0.749 * GIB)
"""CUDA context with loaded kernels, outside torch: device minus reserved of all TRL rows and of SmolLM2-135M under
Unsloth, on an H100. Other cards and drivers differ; a smaller card's is smaller."""
PARKING_CONTEXT_BYTES = round(0.07 * GIB)
"""What Unsloth's rows show beyond that when layer inputs go to host RAM (one row without tells them apart)."""
CONTEXT_LESS, CONTEXT_MORE = round(0.35 * GIB), round(0.15 * GIB)
UNSLOTH_WORKSPACE = 57 * MIB
"""Left over in the 1B and 8B Unsloth rows beside the derived terms: cuBLASLt's workspace and small casts."""
RUNTIME_CPU_BYTES = round(0.96 * GIB)
"""Resident memory of a process that has imported torch, transformers, peft and trl."""
SAFETY = 0.02
"""Free memory within this share of the limit counts as tight, never as fitting."""


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the budget."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory of a run, in bytes. The parts sum to `total_bytes`; low and high bound what is elastic or unmeasured."""

    total_bytes: int
    low_bytes: int
    high_bytes: int
    host_bytes: int
    """Pinned host RAM: what is parked or kept there."""
    disk_bytes: int
    free_bytes: int
    """What the run may take: the card's free memory or run.vram_limit_gib; 0 if no card is known."""
    verdict: Literal["fits", "tight", "over"]
    """tight: the total is below the limit, but the high bound or the safety margin is not."""
    parts: tuple[Part, ...]
    moment: str
    """When the peak occurs."""
    offloaded_layers: int
    """Layers in host RAM, resolved where the recipe says auto."""


def estimate(
    shape: Shape, recipe: Recipe, card: Card | None, tokens: int | None = None, stack: Stack | None = None
) -> Budget:
    """The budget of a recipe on a card.

    card: None means training on the CPU, in host RAM. tokens: length of the longest row; None counts rows as full.
    stack: other training code than fitune's own. Raises UserError for a model or modules that can't be trained.
    """
    plan = resolve(shape, recipe, card, tokens, stack or Stack())
    context = _context(plan)
    plan = weights.place(plan, context.bytes)
    moment, terms = max(_moments(plan, context), key=lambda each: sum(term.bytes for term in each[1]))
    terms = [*terms, _slack(plan, terms), context]
    kept = [term for term in terms if term.bytes]
    total = sum(term.bytes for term in kept)
    high = total + sum(term.more for term in kept)
    limit = _limit(recipe, card)
    return Budget(
        total_bytes=total,
        low_bytes=total - sum(term.less for term in kept),
        high_bytes=high,
        host_bytes=weights.host_bytes(plan) if card else 0,
        disk_bytes=disk_bytes(plan),
        free_bytes=limit,
        verdict="over" if plan.refused else verdict_of(total, high, limit),
        parts=tuple(Part(term.name, term.bytes, term.why) for term in kept),
        moment=moment,
        offloaded_layers=len(shape.layers) - plan.resident_layers,
    )


def to_json(budget: Budget, remedies: Iterable[Any]) -> dict[str, Any]:
    """The contract of `fitune estimate --json`: see README. `remedies` are core.remedies.Remedy."""
    return {
        "total_bytes": budget.total_bytes,
        "low_bytes": budget.low_bytes,
        "high_bytes": budget.high_bytes,
        "host_bytes": budget.host_bytes,
        "disk_bytes": budget.disk_bytes,
        "free_bytes": budget.free_bytes,
        "verdict": budget.verdict,
        "parts": [{"name": part.name, "bytes": part.bytes, "why": part.why} for part in budget.parts],
        "remedies": [{"set": each.set, "saves_bytes": each.saves_bytes, "costs": each.costs} for each in remedies],
    }


def _moments(plan: Plan, context: Term) -> list[tuple[str, list[Term]]]:
    """Each moment that can be the peak, with all that the process holds then, allocator and context apart."""
    frozen = [
        weights.layers_term(plan), weights.slots_term(plan), weights.experts_term(plan),
        weights.rest_term(plan), weights.vision_term(plan), weights.lora_term(plan),
    ]  # fmt: skip
    resident = [*frozen, weights.optimizer_term(plan), step.scratch_term(plan), _workspace(plan)]
    gradients = weights.gradients_term(plan)
    inputs, backward = step.activation_terms(plan)
    buffers = [step.dequantization_term(plan), step.dora_term(plan)]
    standing = sum(term.bytes for term in [*frozen, context])
    # With accumulation all gradients are there from the second micro-batch on; without, they grow as inputs are freed.
    accumulating = [gradients] if plan.recipe.train.grad_accum > 1 else []
    loss = [*resident, *accumulating, inputs, step.loss_term(plan, standing)]
    scratch = Term("optimizer scratch", weights.step_scratch_bytes(plan), "one more copy of the LoRA weights")
    moments = [
        ("load", [*frozen, _load_scratch(plan)]),
        ("loss", loss),
        ("optimizer step", [*resident, gradients, scratch]),
        ("evaluation", [*resident, step.loss_term(plan, standing, evaluating=True)]),
    ]
    if weights.parks_checkpoints(plan) or accumulating:
        return [*moments, ("layer backward", [*resident, gradients, inputs, backward, *buffers])]
    first = ("layer backward", [*resident, inputs, backward, *buffers])
    return [*moments, first, ("layer backward", [*resident, gradients, backward, *buffers])]


def _load_scratch(plan: Plan) -> Term:
    """While a tensor is quantized or widened, its 16-bit original lies beside it. An embedding that ends in host RAM
    is loaded to the card first."""
    largest = max(plan.largest_matrix, plan.shape.embedding_params if plan.widened else 0)
    amount = 0 if plan.quant == "bf16" else 2 * largest
    amount += 0 if plan.embedding_on_card else 2 * plan.shape.embedding_params
    return Term("loading", amount, "one 16-bit tensor beside its stored form")


def _workspace(plan: Plan) -> Term:
    """cuBLAS: 32 MiB on compute capability 9.0 and later, about 8 MiB below (torch's CUDABlas defaults)."""
    if plan.card is None:
        return Term("workspace", 0, "")
    capability = plan.card.compute_capability or (8, 0)
    amount = (32 if capability >= (9, 0) else 8) * MIB + (UNSLOTH_WORKSPACE if plan.unsloth else 0)
    return Term("workspace", amount, "scratch space of the matrix kernels", less=amount // 2)


def _context(plan: Plan) -> Term:
    if plan.card is None:
        return Term("Python and libraries", RUNTIME_CPU_BYTES, "torch, transformers, peft and trl in memory")
    amount = CONTEXT_BYTES + (PARKING_CONTEXT_BYTES if weights.parks_checkpoints(plan) else 0)
    said = f"driver and kernels on the card, {gib(amount)} measured on an H100; smaller on small cards"
    return Term("CUDA context", amount, said, CONTEXT_LESS, CONTEXT_MORE)


def _slack(plan: Plan, terms: list[Term]) -> Term:
    """Reserved minus allocated. With expandable segments (Unsloth on Linux) 0.03 GiB + 1 % of the peak fits all six
    Unsloth rows to 0.035 GiB; without, 0.25 GiB + 11.3 % of what a step adds to the frozen weights fits the three TRL
    rows of one 8B shape to 0.07 GiB, and is a guess for others."""
    if plan.card is None:
        return Term("allocator slack", 0, "")
    peak = sum(term.bytes for term in terms)
    if plan.unsloth and plan.card.expandable_segments:
        amount = round(0.03 * GIB + 0.01 * peak)
        return Term("allocator slack", amount, "memory torch holds between tensors", less=amount // 2, more=amount // 2)
    frozen = sum(term.bytes for term in terms if term.name in ("layer weights", "experts", "embeddings and head"))
    amount = round(min(0.25 * GIB, 0.25 * (peak - frozen)) + 0.113 * (peak - frozen))
    return Term("allocator slack", amount, "torch keeps split blocks", less=amount // 2, more=amount // 4)


def _limit(recipe: Recipe, card: Card | None) -> int:
    free = card.free_bytes if card else 0
    limit = recipe.run.vram_limit_gib
    return free if limit is None or card is None else min(free, int(limit * GIB))


def verdict_of(total: int, high: int, limit: int) -> Literal["fits", "tight", "over"]:
    """How a predicted peak and its high bound stand to the memory that may be taken, all in bytes; 0 is unknown."""
    if total > limit > 0:
        return "over"
    return "fits" if limit and max(high, total) <= limit * (1 - SAFETY) else "tight"
