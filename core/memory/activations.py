"""Memory that a training step needs for a short time in its layers: activations, dequantization buffers.

T tokens, H hidden width, I MLP width, Q and K widths of queries and keys, L layers; for other layers what `widths`
says. Coefficients are bytes a token.
"""

from dataclasses import replace

from fitune.core.memory.offload import offloads_checkpoints
from fitune.core.memory.plan import MemoryPlan, Term, gib
from fitune.core.memory.shapes import Mixer
from fitune.core.memory.shapes.layers import doubt, is_measured, part_bytes
from fitune.core.memory.shapes.widths import Widths, widths_of

PER_LAYER_PROJECTION = "per_layer_model_projection"
"""The matrix that makes the inputs of all layers."""
MASK_BYTES = 3
WIDEST_SHARED_HEAD = 256
"""Elements of a head up to which torch's attention lets heads of the queries share keys and values."""


def activation_terms(plan: MemoryPlan) -> list[Term]:
    """The layer inputs kept for recomputing, the activations of layers that are not recomputed, and the memory of one
    layer's backward pass."""
    kept, layer = _per_token(plan)
    whole, layer = _of_skipped_layers(plan, layer)
    if plan.skipped_layers and not offloads_checkpoints(plan):
        kept *= 1 - plan.skipped_layers / len(plan.shape.layers)
    location = "kept on the card" if plan.card else "kept"
    if plan.checkpoints == "off":
        location = "everything kept for the backward pass"
    elif offloads_checkpoints(plan):
        location = "offloaded to host RAM"
    uncertainty = doubt(plan)
    title, content = (
        ("layer inputs", "each layer's input") if plan.checkpoints != "off" else ("activations kept", "no checkpoints")
    )
    terms = [
        _per_layer_inputs(plan),
        Term(
            title,
            round(kept * plan.tokens),
            f"{content}, {location}: {kept:,.0f} byte for each of {plan.tokens:,} tokens",
            round(kept * plan.tokens * uncertainty),
            round(kept * plan.tokens * uncertainty),
        ),
        Term(
            "activations kept",
            round(whole * plan.tokens),
            f"all activations of {plan.skipped_layers} layers: {whole:,.0f} byte for each of {plan.tokens:,} tokens",
            round(whole * plan.tokens * uncertainty),
            round(whole * plan.tokens * uncertainty),
        ),
    ]
    added, tile = _accumulation_bytes(plan), _tile_bytes(plan)
    amount = round(layer * plan.tokens) + added + tile
    why = f"one layer's backward pass: {layer:,.0f} byte for each of {plan.tokens:,} tokens"
    if tile:
        why += f", and {gib(tile)} for a tile of its MLP"
    if added:
        why += f", and {gib(added)} while its gradients are added to those before"
    if not is_measured(plan):
        why += f"; derived, not measured for {plan.shape.model_type}: `fitune estimate RECIPE --calibrate` measures it"
    return [
        *terms,
        Term("layer backward", amount, why, round(amount * _lower_uncertainty(plan)), round(amount * uncertainty)),
    ]


def _per_layer_inputs(plan: MemoryPlan) -> Term:
    """Gemma 3n's and Gemma 4's own input of each layer, made for all layers before the first (modeling_gemma4.py,
    project_per_layer_inputs): what their norm reads in fp32, the result, its gradient, and that of one layer, which has
    the size of all. With it 12 layers of Gemma 4 E4B are met within 0.1 % (families_h200_2026-11-30.jsonl)."""
    width = sum(linear.outputs for linear in plan.shape.outside if linear.name == PER_LAYER_PROJECTION)
    each = 4 + 3 * plan.stream_bytes
    why = f"an input of each layer's own: {each * width:,} byte for each of {plan.tokens:,} tokens"
    return Term("per-layer inputs", each * width * plan.tokens, why)


def _tile_bytes(plan: MemoryPlan) -> int:
    """An MLP's backward pass over a tile, of as many tokens as the model is wide (unsloth_zoo tiled_mlp.py, arctic)."""
    if not plan.tiles:
        return 0
    return round(min(plan.tokens, plan.shape.hidden) * (6 * widest_mlp(plan) + 2 * plan.shape.hidden))


def _accumulation_bytes(plan: MemoryPlan) -> int:
    """Extra bytes of gradient accumulation. From the second micro-batch on, a layer's new gradients and the old ones
    that they are added to exist at the same time, and 2 H a token with them: measured in all eleven presets whose peak
    this is, within 5 MiB (bench/results/presets). 0 without accumulation; with TRL it was not measured."""
    if not plan.unsloth or plan.recipe.train.grad_accum == 1:
        return 0
    layer_gradients = plan.lora_bytes * plan.lora_params // len(plan.shape.layers)
    return 2 * plan.tokens * plan.shape.hidden + layer_gradients


def _lower_uncertainty(plan: MemoryPlan) -> float:
    """Share by which the layer term may be too high: coefficients counted on a CPU were up to 10 % high on a card."""
    return doubt(plan) if is_measured(plan) and plan.card else max(0.2, doubt(plan))


def _of_skipped_layers(plan: MemoryPlan, layer: float) -> tuple[float, float]:
    """Bytes a token: the activations of layers that are not recomputed, and one layer's backward pass beside them.

    Unsloth takes every n-th layer and the last one, so the backward pass begins with one whose activations are kept;
    the first that is recomputed comes when these are free. layer: bytes a token that one recomputed layer needs.
    """
    if not plan.skipped_layers:
        return 0, layer
    all_layers, one_backward = _per_token(replace(plan, checkpoints="off"))
    one_layer = all_layers / len(plan.shape.layers)
    return plan.skipped_layers * one_layer, max(one_backward, layer - one_layer)


def _per_token(plan: MemoryPlan) -> tuple[float, float]:
    """Bytes a token: kept between forward and backward by all layers, and needed by one layer's backward pass."""
    return _unsloth(plan) if plan.hand_written else _general(plan)


def _unsloth(plan: MemoryPlan) -> tuple[float, float]:
    """Unsloth's hand-written layers (kernels/fast_lora.py, models/llama.py): 6 I + 10 H + 4 Q + 4 K in the recomputed
    layer, derived from LoRA_MLP.backward. With checkpoints in host RAM two staging buffers and the last layer's input
    stay on the card: 6 H. Query and key norms add 2 (Q + K).
    """
    hidden, layers = plan.shape.hidden, len(plan.shape.layers)
    extra: float = 2 * (plan.shape.queries + plan.shape.keys) if _has_query_norms(plan) else 0
    if plan.recipe.lora.dropout > 0:
        extra += 13 * hidden + 3 * max(each.mlp for each in _widths(plan))  # fitted to the 1B row of 16,384 tokens
    if plan.checkpoints == "off":
        copies = 2 if plan.takes_rows_alone else 1  # of the attention's output: its rows are put together again
        kept = sum(4 * each.mlp + 8 * hidden + 2 * each.into + 2 * copies * each.out + extra for each in _widths(plan))
        return kept, max(2 * each.mlp + 6 * hidden + each.into - each.out for each in _widths(plan))
    layer = max(_recomputed_layer(plan, each) for each in _widths(plan)) + extra
    return 6 * hidden if offloads_checkpoints(plan) else 2 * layers * hidden, layer


def _recomputed_layer(plan: MemoryPlan, each: Widths) -> float:
    """Bytes a token of the backward pass of one of these layers. With its MLP in tiles (`_tile_bytes`) that of the
    attention is as large: it has the gradients of output, queries, keys and values, a fp32 sum of that of the queries,
    and those of grouped heads one by one (torch's FlashAttention 2); less than that sum, fitted to the row of 131,072
    tokens in bench/results/long_h200_2026-11-30.jsonl."""
    hidden, kept = plan.shape.hidden, 2 * each.into + 2 * each.out
    if not plan.tiles:
        return 6 * each.mlp + 10 * hidden + kept
    return kept + max(12 * hidden, 8 * hidden + 2 * each.into + 9 * each.out)


def _general(plan: MemoryPlan) -> tuple[float, float]:
    """Any layer of transformers. With checkpoints a layer's input, and one layer's backward pass. Without, all layers'
    share, and what one layer's backward pass adds."""
    hidden, widths = plan.shape.hidden, _widths(plan)
    kept, needed = [[part.of(each, hidden) for each in widths] for part in part_bytes(plan)]
    if plan.card and not plan.unsloth:
        copied = [2 * each.copied * _is_copied(plan, each) for each in widths]
        kept = [*map(sum, zip(kept, copied, (2 * _is_cut(plan) * each.uncut for each in widths), strict=True))]
        needed = [*map(sum, zip(needed, copied, strict=True))]
    if plan.checkpoints == "off":
        return sum(kept), _added_without_checkpoints(plan, kept, needed)
    inputs = 6 * hidden if offloads_checkpoints(plan) else plan.stream_bytes * (len(widths) - 1) * hidden
    if plan.tiles:
        whole_mlp = part_bytes(plan)[1].mlp
        needed = [more - whole_mlp * each.mlp + 2 * hidden for more, each in zip(needed, widths, strict=True)]
    return inputs, max(needed)


def _added_without_checkpoints(plan: MemoryPlan, kept: list[float], needed: list[float]) -> float:
    """Fitted to the Llama and Qwen2.5 rows, on a CPU counted; a layer with experts needs more by its own parts."""
    widest, hidden = max(each.mlp for each in _widths(plan)), plan.shape.hidden
    if plan.card is None:
        return 10 * widest + 14 * hidden if plan.quant != "bf16" else 1.2 * widest + 59.4 * hidden
    own = max(more - less for more, less in zip(needed, kept, strict=True))
    return max(0.6 * widest + 29.7 * hidden, own)


def widest_mlp(plan: MemoryPlan) -> float:
    """Width of the widest MLP, a token's routed experts included."""
    return max(each.mlp + each.routed for each in _widths(plan))


def _has_query_norms(plan: MemoryPlan) -> bool:
    return plan.shape.model_type.startswith("qwen3")


def _widths(plan: MemoryPlan) -> list[Widths]:
    """The widths of each layer."""
    of_kinds = [widths_of(layer, plan.shape.hidden) for layer in plan.shape.kinds]
    return [of_kinds[index] for index in plan.shape.order]


def _is_copied(plan: MemoryPlan, each: Widths) -> bool:
    """True if trl copies keys and values for each head of the queries: torch's attention lets heads share them without
    a mask, and up to 256 elements wide (transformers integrations/sdpa_attention.py, use_gqa_in_sdpa). What torch
    allocated for 4,096 tokens of Command R7B is met within 2 MiB with it (families_h200_2026-11-30b.jsonl)."""
    return _has_mask(plan, each.mixer) or each.out > WIDEST_SHARED_HEAD * plan.shape.heads


def _is_cut(plan: MemoryPlan) -> bool:
    """True if queries and keys that came from one matrix with the values are not those of the attention, as places
    turn them into others: a model with a table of places has no such. Counted with saved-tensor hooks for Phi-4 mini.
    """
    return plan.shape.positions is None


def _has_mask(plan: MemoryPlan, mixer: Mixer) -> bool:
    """True if trl tells a layer by a mask which token sees which: where rows are padded to the longest or as long as
    the layer's window. Others are told to be causal."""
    return plan.padded or (mixer == "window" and plan.length >= (plan.shape.window or 0))


def mask_term(plan: MemoryPlan) -> Term:
    """What says which token sees which, a byte for each pair of a row, and its 16-bit copy in an attention
    (transformers masking_utils.py, sdpa_mask; torch's attention takes no other). Rows that are as long as a layer's
    window need one, and those padded to the longest; others are told to be causal. Derived: rows of 4,096 tokens of
    Olmo 3, Gemma 2 and 3 and Command R7B had allocated 0.1 GiB more than was said without it, and 0.05 GiB with it
    (families_h200_2026-11-30b.jsonl)."""
    has_mask = any(_has_mask(plan, layer.mixer) for layer in plan.shape.kinds)
    needed = plan.card is not None and not plan.unsloth and has_mask
    amount = MASK_BYTES * plan.tokens * plan.length if needed else 0
    return Term("attention mask", amount, f"{MASK_BYTES} byte for each pair of a row's {plan.length:,} tokens")


def scratch_term(plan: MemoryPlan) -> Term:
    """The 16-bit buffer of the largest matrix that Unsloth's own layers keep for the whole run (kernels/utils.py)."""
    amount = 2 * plan.largest_matrix if plan.hand_written and plan.quant != "bf16" else 0
    why = f"a 16-bit buffer of the largest matrix, {plan.largest_matrix:,} weights"
    return Term("dequantization scratch", amount, why)


def dequantization_term(plan: MemoryPlan) -> Term:
    """New buffers in which quantized weights become 16-bit ones in a backward pass: the largest matrix. Unsloth
    (kernels/fast_lora.py) writes over it. bitsandbytes has its fp32 scales beside it, when two of the MLP's tensors are
    already freed: measured rows of 1,024 to 8,192 tokens agree within 0.01 GiB. Layers that Unsloth compiles have freed
    four: Ministral 3 allocated the same in 4 and in 16 bits, from 2,048 tokens on."""
    largest = plan.largest_matrix
    if plan.quant == "bf16":
        return Term("dequantization", 0, "16-bit weights are used as they are")
    if plan.unsloth:
        freed = 0 if plan.hand_written or plan.checkpoints == "off" else round(4 * widest_mlp(plan) * plan.tokens)
        amount, experts = max(0, 2 * largest - freed), _experts_copied(plan)
        why = f"a 16-bit copy of the largest matrix ({largest:,} weights)"
        if experts > largest:
            amount, why = 2 * experts, f"a 16-bit copy of {experts:,} expert weights of a layer at once"
    else:
        freed = 0 if plan.card is None or plan.checkpoints == "off" else round(_freed(plan) * plan.tokens)
        amount = max(0, plan.stream_bytes * largest + largest // 16 - freed)
        why = f"an unpacked copy of the largest matrix ({largest:,} weights) and its scales"
    return Term("dequantization", amount, why, more=2 * largest if plan.quant == "int8" else 0)


def _freed(plan: MemoryPlan) -> float:
    """Bytes a token of the MLP that a backward pass has freed when the largest matrix is unpacked: what went through
    it, and before a matrix that stands for several, the gradients of its parts that were just joined."""
    return max(2 * (each.mlp + each.routed) + (2 + part_bytes(plan)[1].joint) * each.joint for each in _widths(plan))


def _experts_copied(plan: MemoryPlan) -> int:
    """Expert weights of a layer that have a 16-bit copy at once. Unsloth multiplies by all experts in 4 bits together:
    the copy of one tensor is made anew in the backward pass (unsloth_zoo moe_utils.py, _base_grouped_mm), but in the
    recomputed layers of gpt-oss those of both stay (gpt_oss_grouped_qlora.py). Derived: four layers of gpt-oss-20b took
    6.85 GiB on an H200 (2026-11-29), 1.4 GiB more than without it."""
    stays = plan.shape.model_type == "gpt_oss" and plan.checkpoints != "off"
    fused = [[experts.weights for experts in layer.routed if experts.fused] for layer in plan.shape.kinds]
    return max((sum(each) if stays else max(each) for each in fused if each), default=0)


def dora_term(plan: MemoryPlan) -> Term:
    """DoRA's extra memory: it needs the norm of weight + B A, both as whole matrices (peft tuners/lora/dora.py), and a
    second copy of a layer's outputs. Bytes a weight of the largest matrix, and bytes a token and output: fitted to the
    1B rows of 1,024 to 8,192 tokens with each backend; the 3B row is 3 % below."""
    if not plan.recipe.lora.dora:
        return Term("DoRA", 0, "")
    per_weight, per_output = (21, 8.4) if plan.unsloth else (23, 11.5)
    outputs = max(sum(linear.outputs for linear in layer.linears) for layer in plan.shape.layers)
    amount = round(per_weight * plan.largest_matrix + per_output * outputs * plan.tokens)
    why = "the largest matrix, B x A and their sum, to find its norms; each output twice"
    return Term("DoRA", amount, why, less=amount // 4, more=amount // 4)
