"""What a training step needs for a moment: activations, dequantization buffers, the loss.

T tokens, H hidden width, I MLP width, Q and K widths of queries and keys, L layers. Coefficients are bytes a token.
"""

import math

from fitune.core.memory.plan import Plan, Term, gib
from fitune.core.memory.weights import parks_checkpoints
from fitune.core.units import GIB

TILE_TOKENS, TILE_VOCAB = 4096, 32_768
"""TRL 1.15's fused head works on tiles of this many tokens and vocabulary entries (trl/kernels/chunked_logprob.py)."""
CHUNK_TARGET_CAP = 4 * GIB
"""unsloth_zoo 2026.10.7: a loss chunk may take half of the free memory, at most this (fused_losses)."""
CHUNK_PLANNED_BYTES = 16
"""Bytes a logit by which it sizes its chunks; compiled code keeps fewer."""
CHUNK_KEPT_BYTES = 4
"""bf16 logits and their bf16 gradient: met by all rows whose peak is the loss."""
MEASURED_LAYERS = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Architectures whose hand-written layers were measured (bench/results)."""


def activation_terms(plan: Plan) -> list[Term]:
    """Inputs kept for recomputing, and what one layer's backward pass holds."""
    kept, layer = _per_token(plan)
    on_it = "kept on the card" if plan.card else "kept"
    if plan.checkpoints == "off":
        on_it = "everything kept for the backward pass"
    elif parks_checkpoints(plan):
        on_it = "parked in host RAM"
    doubt = 0.02 if plan.hand_written and plan.shape.model_type in MEASURED_LAYERS else 0.12
    name, said = (
        ("layer inputs", "each layer's input") if plan.checkpoints != "off" else ("activations kept", "no checkpoints")
    )
    terms = [
        Term(
            name,
            round(kept * plan.tokens),
            f"{said}, {on_it}: {kept:,.0f} byte for each of {plan.tokens:,} tokens",
            round(kept * plan.tokens * doubt),
            round(kept * plan.tokens * doubt),
        )
    ]
    added = _accumulation_bytes(plan)
    amount = round(layer * plan.tokens) + added
    said = f"one layer's backward pass: {layer:,.0f} byte for each of {plan.tokens:,} tokens"
    if added:
        said += f", and {gib(added)} while its gradients are added to those before"
    if plan.shape.model_type not in MEASURED_LAYERS:
        said += f"; derived, not measured for {plan.shape.model_type}"
    return [*terms, Term("layer backward", amount, said, round(amount * _below(plan)), round(amount * doubt))]


def _accumulation_bytes(plan: Plan) -> int:
    """From the second micro-batch on a layer's gradients lie beside those that they are added to, and 2 H a token with
    them: what was measured above the rest in all eleven presets whose peak this is, within 5 MiB
    (bench/results/presets). Without accumulation it is not there; with TRL it was not measured."""
    if not plan.unsloth or plan.recipe.train.grad_accum == 1:
        return 0
    gradients = plan.lora_bytes * plan.lora_params // len(plan.shape.layers)
    return 2 * plan.tokens * plan.shape.hidden + gradients


def _below(plan: Plan) -> float:
    """Share by which the layer term may be too high: CPU-derived coefficients proved up to 10 % high on a card."""
    return 0.02 if plan.hand_written else 0.2


def _per_token(plan: Plan) -> tuple[float, float]:
    """Bytes a token: kept between forward and backward by all layers, and needed by one layer's backward pass."""
    if plan.unsloth and plan.hand_written:
        return _unsloth(plan)
    if plan.unsloth:
        return _compiled(plan)
    return _trl(plan)


def _unsloth(plan: Plan) -> tuple[float, float]:
    """Unsloth's hand-written layers (kernels/fast_lora.py, models/llama.py): 6 I + 10 H + 4 Q + 4 K in the recomputed
    layer, derived from LoRA_MLP.backward. Parked checkpoints leave two staging buffers and the last layer's input: 6 H.
    Query and key norms add 2 (Q + K).
    """
    wide, hidden, queries, keys, layers = _sizes(plan)
    extra = 2 * (queries + keys) if _has_query_norms(plan) else 0
    if plan.recipe.lora.dropout > 0:
        extra += 13 * hidden + 3 * wide  # fitted to the 1B row of 16,384 tokens
    one = 6 * wide + 10 * hidden + 4 * queries + 4 * keys + extra
    if plan.checkpoints == "off":
        return layers * (4 * wide + 8 * hidden + 4 * queries + 4 * keys + extra), 2 * wide + 6 * hidden + 2 * keys
    if parks_checkpoints(plan):
        return 6 * hidden, one
    return 2 * layers * hidden, one


def _compiled(plan: Plan) -> tuple[float, float]:
    """Architectures without hand-written layers: transformers' code with fp32 LoRA, as 16-bit TRL; unmeasured."""
    hidden = plan.shape.hidden
    kept, one = _bf16_stream_fp32_lora(plan)
    return (6 * hidden if parks_checkpoints(plan) else kept), one


def _trl(plan: Plan) -> tuple[float, float]:
    """TRL 1.15 + PEFT, counted with saved-tensor hooks on a CPU, exact there to 0.1 %. On a card a layer's backward
    pass holds 5 H less: fitted to the Llama and Qwen2.5 rows of 0.5B to 8B, which it meets within 0.01 GiB. Query and
    key norms add 4 (Q + K). Without checkpoints: all layers' share, and what one layer's backward adds.
    """
    wide, hidden, queries, keys, layers = _sizes(plan)
    off = plan.checkpoints == "off"
    if plan.quant == "bf16":
        kept, one = _bf16_stream_fp32_lora(plan)
        return (kept * 2, one * 2) if plan.card is None else (kept, one)
    attention = 4.1 * queries + 4 * keys
    if plan.card is None:
        if off:
            return layers * (14 * wide + 18.1 * hidden + attention), 10 * wide + 14 * hidden
        return 4 * (layers - 1) * hidden, 24 * wide + 20.2 * hidden + attention
    if off:
        return layers * (8 * wide + 12.1 * hidden + attention), 0.6 * wide + 29.7 * hidden
    norms = 4 * (queries + keys) if _has_query_norms(plan) else 0
    return 2 * (layers - 1) * hidden, 12 * wide + 16.2 * hidden + attention + norms


def _bf16_stream_fp32_lora(plan: Plan) -> tuple[float, float]:
    """16-bit LoRA, counted on a CPU with autocast (copies of x in 16 bits included); 5 H less on a card, as above."""
    wide, hidden, queries, keys, layers = _sizes(plan)
    if plan.checkpoints == "off":
        return layers * (8 * wide + 18.1 * hidden + 6.1 * queries + 4 * keys), 0.6 * wide + 29.7 * hidden
    stream = 35.2 if plan.card is None else 30.3
    return 2 * (layers - 1) * hidden, 14 * wide + stream * hidden + 6.1 * queries + 4 * keys


def _has_query_norms(plan: Plan) -> bool:
    return plan.shape.model_type.startswith("qwen3")


def _sizes(plan: Plan) -> tuple[int, int, int, int, int]:
    shape = plan.shape
    return shape.intermediate, shape.hidden, shape.queries, shape.keys, len(shape.layers)


def scratch_term(plan: Plan) -> Term:
    """Unsloth's own layers keep one 16-bit buffer of the largest matrix for good (kernels/utils.py)."""
    amount = 2 * plan.largest_matrix if plan.hand_written and plan.quant != "bf16" else 0
    said = f"a 16-bit buffer of the largest matrix, {plan.largest_matrix:,} weights"
    return Term("dequantization scratch", amount, said)


def dequantization_term(plan: Plan) -> Term:
    """Fresh buffers in which packed weights become 16-bit ones in a backward pass: the largest matrix. Unsloth
    (kernels/fast_lora.py) writes over it. bitsandbytes has its fp32 scales beside it, when two of the MLP's tensors are
    gone already: so the rows of 1,024 to 8,192 tokens say, within 0.01 GiB."""
    largest = plan.largest_matrix
    if plan.quant == "bf16":
        return Term("dequantization", 0, "16-bit weights are used as they are")
    if plan.unsloth:
        amount = 2 * largest
        said = f"a 16-bit copy of the largest matrix ({largest:,} weights)"
    else:
        gone = 0 if plan.card is None or plan.checkpoints == "off" else 2 * plan.shape.intermediate * plan.tokens
        amount = max(0, plan.stream_bytes * largest + largest // 16 - gone)
        said = f"an unpacked copy of the largest matrix ({largest:,} weights) and its scales"
    return Term("dequantization", amount, said, more=2 * largest if plan.quant == "int8" else 0)


def dora_term(plan: Plan) -> Term:
    """DoRA needs the norm of weight + B A, both as whole matrices (peft tuners/lora/dora.py), and keeps a layer's
    outputs apart. Bytes a weight of the largest matrix, and a token and output: fitted to the 1B rows of 1,024 to
    8,192 tokens with each backend; the 3B row is 3 % below."""
    if not plan.recipe.lora.dora:
        return Term("DoRA", 0, "")
    a_weight, an_output = (21, 8.4) if plan.unsloth else (23, 11.5)
    outputs = max(sum(each.outputs for each in layer.linears) for layer in plan.shape.layers)
    amount = round(a_weight * plan.largest_matrix + an_output * outputs * plan.tokens)
    said = "the largest matrix, B x A and their sum, to find its norms; each output twice"
    return Term("DoRA", amount, said, less=amount // 4, more=amount // 4)


def logits_term(plan: Plan) -> Term:
    """TRL's fused loss passes over a model in int8: its whole fp32 logits live until the backward pass ends. Two rows
    of one shape agree within 0.04 GiB."""
    each = 4 * plan.shape.vocab + 8 * plan.shape.hidden
    amount = plan.tokens * each if plan.quant == "int8" and not plan.unsloth and plan.card else 0
    return Term("logits", amount, f"fp32 logits of {plan.tokens:,} tokens x {plan.shape.vocab:,} words")


def loss_term(plan: Plan, standing_bytes: int, evaluating: bool = False) -> Term:
    """The output head and the loss. `standing_bytes` is what else the process holds then: Unsloth's chunks depend on
    what is left free. Only labelled tokens are scored, at most all: that is what is counted."""
    tokens, hidden, vocab = plan.tokens, plan.shape.hidden, plan.shape.vocab
    states = (1 if evaluating else 4 if parks_checkpoints(plan) else 3) * plan.stream_bytes * tokens * hidden
    states += 0 if evaluating else _head_gradient_bytes(plan)
    if plan.card is None:
        # transformers' ForCausalLMLoss in fp32: logits, their log-softmax and their gradient, for every token at once.
        whole = 4 * tokens * vocab
        said = f"whole fp32 logits of {tokens:,} tokens x {vocab:,} words, thrice"
        return Term("loss", (1 if evaluating else 3) * whole + states, said, more=whole)
    if not plan.unsloth:
        tile = 2 * min(tokens, TILE_TOKENS) * min(vocab, TILE_VOCAB)
        amount = tile + (0 if evaluating else 4 * tokens * hidden) + states
        said = f"logits in tiles of {min(tokens, TILE_TOKENS):,} tokens x {min(vocab, TILE_VOCAB):,} words"
        return Term("loss", amount, said)
    rows = _chunk_rows(plan, standing_bytes)
    chunk = rows * vocab
    said = f"logits in chunks of {rows:,} of {tokens:,} tokens x {vocab:,} words, {CHUNK_KEPT_BYTES} byte each"
    doubt = chunk // 4  # the chunks follow what is free at that very moment
    return Term("loss", CHUNK_KEPT_BYTES * chunk + states, said, less=doubt, more=doubt)


def _head_gradient_bytes(plan: Plan) -> int:
    """A head that is trained itself: its gradient summed over the chunks in fp32 (UnslothFusedLoss); unmeasured."""
    return 4 * plan.shape.vocab * plan.shape.hidden if plan.trains_whole("lm_head") else 0


def _chunk_rows(plan: Plan, standing_bytes: int) -> int:
    """Rows in a chunk of unsloth_zoo 2026.10.7: chunks come in fours, sized for half the memory free at the first
    step, at most 4 GiB, the hidden gradient taken off (fused_losses/cross_entropy_loss.py, get_chunk_size)."""
    free = plan.card.free_bytes if plan.card else 0
    target = max(1, min(CHUNK_TARGET_CAP, (free - standing_bytes) // 2))
    fixed = 2 * plan.tokens * plan.shape.hidden + 2 * _head_gradient_bytes(plan)
    target -= fixed if fixed < target else 0
    exact = plan.tokens * plan.shape.vocab * CHUNK_PLANNED_BYTES / target
    chunks = 1 if exact <= 1 else min(plan.tokens, math.ceil(exact / 4) * 4)
    return math.ceil(plan.tokens / chunks)
