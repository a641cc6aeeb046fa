"""Memory that the output head and the loss need for a short time."""

import math

from fitune.core.memory.offload import offloads_checkpoints
from fitune.core.memory.plan import FLAT_MULTIPLE, MemoryPlan, Term
from fitune.core.units import GIB, MIB

TILE_TOKENS, TILE_VOCAB = 4096, 32_768
"""TRL 1.15's fused head works on tiles of this many tokens and vocabulary entries (trl/kernels/chunked_logprob.py)."""
CPU_CHUNK_TOKENS, CPU_CHUNK_TIMES = 128, 4
"""Tokens whose scores stand in RAM together where answers are compared on a processor, and how often: as such, as
likelihoods, and twice on the way to their entropy (core/worker/training/objectives/cpu_head.py)."""
CHUNK_TARGET_CAP = 2 * GIB
"""A loss chunk may take half of the free memory as unsloth_zoo 2026.10.7 plans it, at most this: up to 4 GiB by itself
(fused_losses), but core/worker/training/model_with_adapter.py gives it this figure."""
CHUNK_PLANNED_BYTES = 16
"""Bytes a logit that unsloth_zoo plans with when it sizes its chunks; compiled code keeps fewer."""
CHUNK_KEPT_BYTES = 4
"""bf16 logits and their bf16 gradient: met by all rows whose peak is the loss."""
ALIGNED_WORDS = 8
"""A head with another multiple of words is padded by torch's compiler, if that is faster in a trial
(torch/_inductor/fx_passes/pad_mm.py; unsloth_zoo's options ask for it)."""
L2_BYTES = 60 * MIB
"""A buffer that the trial clears the card's cache with: the L2 cache of an H200."""


def logits_term(plan: MemoryPlan) -> Term:
    """The fp32 logits of all tokens, kept until the backward pass ends: TRL does not use its fused loss for a model in
    int8. Two measured rows of one shape agree within 0.04 GiB."""
    per_token = 4 * plan.shape.vocab + 8 * plan.shape.hidden
    whole = plan.quant == "int8" and not plan.unsloth and plan.card and plan.recipe.train.objective == "sft"
    amount = plan.tokens * per_token if whole else 0
    return Term("logits", amount, f"fp32 logits of {plan.tokens:,} tokens x {plan.shape.vocab:,} words")


def _whole_logits_term(plan: MemoryPlan, states: int) -> Term:
    """ORPO's loss in TRL 1.15 (orpo_trainer.py), with all logits of both answers: they and their gradient, a copy of
    the better half with its fp32 log-softmax, and that of all. One measured row (H200, 4 rows of 1,024) took 5.71."""
    times = 5.75 if plan.card else 5
    amount = round(times * plan.stream_bytes * plan.tokens * plan.shape.vocab)
    why = f"whole logits of {plan.tokens:,} tokens x {plan.shape.vocab:,} words, {times} times"
    return Term("loss", amount + states, why, less=amount // 4, more=amount // 4)


def loss_term(plan: MemoryPlan, standing_bytes: int, evaluating: bool = False) -> Term:
    """Memory of the output head and the loss. `standing_bytes`: all else that the process holds then, since the size
    of Unsloth's chunks depends on the free memory. Only labelled tokens are scored; all tokens are counted here."""
    tokens, hidden, vocab = plan.tokens, plan.shape.hidden, plan.shape.vocab
    states = (1 if evaluating else 4 if offloads_checkpoints(plan) else 3) * plan.stream_bytes * tokens * hidden
    states += 0 if evaluating else _head_gradient_bytes(plan) + _cast_head_gradient_bytes(plan)
    objective = plan.recipe.train.objective
    if objective == "orpo" and not evaluating:
        return _whole_logits_term(plan, states)
    if plan.card is None and objective in ("dpo", "kto"):
        chunk = min(tokens, CPU_CHUNK_TOKENS)
        why = f"fp32 scores of {chunk:,} tokens x {vocab:,} words, {CPU_CHUNK_TIMES} times"
        return Term("loss", CPU_CHUNK_TIMES * 4 * chunk * vocab + states, why)
    if plan.card is None:
        # transformers' ForCausalLMLoss in fp32: logits, their log-softmax and their gradient, for every token at once.
        all_logits = 4 * tokens * vocab
        why = f"whole fp32 logits of {tokens:,} tokens x {vocab:,} words, thrice"
        return Term("loss", (1 if evaluating else 3) * all_logits + states, why, more=all_logits)
    if not plan.unsloth or objective != "sft":  # TRL's head, whatever the backend
        tile = 2 * min(tokens, TILE_TOKENS) * min(vocab, TILE_VOCAB)
        amount = tile + (0 if evaluating else 4 * tokens * hidden) + states
        if not evaluating and _head_gradient_bytes(plan):  # a tile's product before it is added: fits the one measured
            amount += 4 * min(vocab, TILE_VOCAB) * hidden
        why = f"logits in tiles of {min(tokens, TILE_TOKENS):,} tokens x {min(vocab, TILE_VOCAB):,} words"
        return Term("loss", amount, why)
    rows = _chunk_rows(plan, standing_bytes)
    chunk = rows * vocab
    why = f"logits in chunks of {rows:,} of {tokens:,} tokens x {vocab:,} words, {CHUNK_KEPT_BYTES} byte each"
    uncertainty = chunk // 4  # the chunks follow what is free at that very moment
    return Term("loss", CHUNK_KEPT_BYTES * chunk + states, why, less=uncertainty, more=uncertainty)


def padding_trial_term(plan: MemoryPlan) -> Term:
    """Two more copies of an output head, one of them padded, while torch's compiler tries in the first step if padding
    makes the loss faster. The peak of 2,048 tokens of OLMo 3 with its 100,278 words is met within 1.3 %."""
    tried = plan.unsloth and plan.card and plan.recipe.train.objective == "sft" and plan.shape.vocab % ALIGNED_WORDS
    amount = 4 * plan.shape.vocab * plan.shape.hidden + L2_BYTES if tried else 0
    why = f"two copies of the head, whose {plan.shape.vocab:,} words are no multiple of {ALIGNED_WORDS}"
    return Term("trial of padding", amount, why, less=amount)


def _head_gradient_bytes(plan: MemoryPlan) -> int:
    """The fp32 gradient of an output head that is trained itself, summed over the chunks (UnslothFusedLoss; TRL's
    kernels/chunked_logprob.py)."""
    is_trained = plan.recipe.trains_all or plan.fully_trains("lm_head")
    return 4 * plan.shape.vocab * plan.shape.hidden if is_trained else 0


def _cast_head_gradient_bytes(plan: MemoryPlan) -> int:
    """The same gradient in the type of 16-bit weights, beside that in fp32."""
    return _head_gradient_bytes(plan) // 2 if plan.fully_trained_weight_bytes == 2 else 0


def unchunked_tokens(plan: MemoryPlan, standing_bytes: int) -> int:
    """The most tokens of a micro-batch whose loss Unsloth takes in one chunk: there the logits take most memory."""
    target = _chunk_target(plan, standing_bytes) - 2 * _head_gradient_bytes(plan)
    tokens = max(0, target) // (CHUNK_PLANNED_BYTES * plan.shape.vocab + 2 * plan.shape.hidden)
    return tokens // FLAT_MULTIPLE * FLAT_MULTIPLE


def _chunk_target(plan: MemoryPlan, standing_bytes: int) -> int:
    """Half the memory that is free at the first step, at most CHUNK_TARGET_CAP (fused_losses/cross_entropy_loss.py)."""
    free = plan.card.free_bytes if plan.card else 0
    return max(1, min(CHUNK_TARGET_CAP, (free - standing_bytes) // 2))


def _chunk_rows(plan: MemoryPlan, standing_bytes: int) -> int:
    """Rows in a loss chunk of unsloth_zoo 2026.10.7: one chunk where that keeps within the target, else a multiple of
    four, sized for the target less the hidden gradient (fused_losses/cross_entropy_loss.py, get_chunk_size)."""
    target = _chunk_target(plan, standing_bytes)
    fixed = 2 * plan.tokens * plan.shape.hidden + 2 * _head_gradient_bytes(plan)
    target -= fixed if fixed < target else 0
    exact = plan.tokens * plan.shape.vocab * CHUNK_PLANNED_BYTES / target
    chunks = 1 if exact <= 1 else min(plan.tokens, math.ceil(exact / 4) * 4)
    return math.ceil(plan.tokens / chunks)
