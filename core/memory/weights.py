"""Memory that is held from load to end: the frozen weights, the adapter, its gradients and optimizer states."""

from dataclasses import replace

from fitune.core.memory.plan import MemoryPlan, Term, count, gib

NF4_BYTES = 0.5 + 4 / 64
"""4 bits a weight and one fp32 scale for 64 weights (bitsandbytes functional.py, quantize_4bit)."""
NF4_DOUBLE_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""The same with the scales in 8 bits, and one fp32 scale for 256 of those."""
STATE_8BIT_BYTES = 1 + 4 / 256
"""A state in 8 bits with one fp32 scale for 256 (bitsandbytes optim/optimizer.py, init_state)."""
SMALL_STATE, PAGED_STATE = 4096, 100_000
"""Tensors of fewer elements keep fp32 states, or are not paged (the same file)."""
SLOTS = 3
"""Layers of those in host RAM that Unsloth's swapper holds on the card: prefetch depth 2, plus the running one
(unsloth_zoo block_swap.py)."""
LOFTQ_BYTES = 24
"""Bytes a weight of the largest matrix while LoftQ decomposes it: six copies in fp32; unmeasured."""


def layer_bytes(plan: MemoryPlan) -> float:
    """Bytes of all matrices of the text model as stored. Sources: NF4_BYTES; int8 has one fp32 scale a row
    (bitsandbytes nn/modules.py, Linear8bitLt); matrices that are kept in 16 bits are 2 bytes a weight."""
    if plan.quant == "bf16":
        return plan.shape.linear_params * weight_bytes(plan)
    kept = plan.kept_16bit_params
    scales = 4 * sum(linear.outputs * times for linear, times in plan.shape.matrices) if plan.quant == "int8" else 0
    return (plan.shape.linear_params - kept) * weight_bytes(plan) + 2 * kept + scales


def weight_bytes(plan: MemoryPlan) -> float:
    """Bytes of one layer weight. Unsloth always quantizes the scales too (models/llama.py)."""
    if plan.quant == "bf16":
        return 4 if plan.card is None else 2
    if plan.quant == "int8":
        return 1
    return NF4_DOUBLE_BYTES if plan.unsloth or plan.recipe.model.double_quant else NF4_BYTES


def layers_term(plan: MemoryPlan) -> Term:
    """The decoder layers' matrices on the card, without those in host RAM."""
    kept = 0 if plan.quant == "bf16" else plan.kept_16bit_params
    all_kept = kept and kept == plan.shape.linear_params
    each = 2 if all_kept else weight_bytes(plan)
    why = f"{plan.shape.name}'s {count(plan.shape.linear_params)} linear weights at {each:.3g} byte"
    if kept and not all_kept:
        why += f", {count(kept)} of them at 2"
    if offloaded_layer_count(plan):
        why += f", {plan.resident_layers} of {len(plan.shape.layers)} layers on the card"
    if plan.refused:
        why += "; Unsloth's own plan finds no room: give offload_layers a number to try it all the same"
    elsewhere = offloaded_layer_count(plan) * offloaded_layer_bytes(plan)
    if plan.shards > 1:
        why += f", split over {plan.shards} cards"
        elsewhere = len(plan.shape.layers) * offloaded_layer_bytes(plan) * (1 - 1 / plan.shards)
    return Term("layer weights", round(layer_bytes(plan) - elsewhere), why)


def offloaded_layer_count(plan: MemoryPlan) -> int:
    """Layers in host RAM."""
    return len(plan.shape.layers) - plan.resident_layers


def offloaded_layer_bytes(plan: MemoryPlan) -> float:
    """Bytes that leave the card with an offloaded layer: the packed weights; the scales of 4-bit weights stay (measured
    rows with 16 to 48 offloaded layers agree within 0.003 GiB)."""
    outside = sum(linear.weights for linear in plan.shape.outside)
    weights = plan.shape.linear_params - outside
    packed = 0.5 * weights if plan.quant == "nf4" else layer_bytes(plan) * weights / max(1, plan.shape.linear_params)
    return packed / len(plan.shape.layers)


def expert_bytes(plan: MemoryPlan) -> float:
    """Bytes of a fused expert's weight. transformers' bitsandbytes quantizes nn.Linear only (integrations/
    bitsandbytes.py); unsloth_zoo's patches make the experts Params4bit, too."""
    return weight_bytes(plan) if plan.unsloth and plan.quant == "nf4" else weight_bytes(replace(plan, quant="bf16"))


def layer_slots_term(plan: MemoryPlan) -> Term:
    """Buffers on the card for the layers that are fetched from host RAM (block_swap.py, _pool_bytes)."""
    offloaded = offloaded_layer_count(plan)
    slots = min(SLOTS, offloaded)
    slot_bytes = offloaded_layer_bytes(plan) + expert_bytes(plan) * plan.shape.expert_params / len(plan.shape.layers)
    return Term(
        "layer slots",
        round(slots * slot_bytes),
        f"{slots} slots of {gib(slot_bytes)} for {offloaded} layers kept in host RAM",
    )


def experts_term(plan: MemoryPlan) -> Term:
    """The routed experts of a mixture, all of them: any may be wanted by the next token."""
    share = plan.resident_layers / len(plan.shape.layers)
    each = [
        sum(experts.weights for layer in plan.shape.layers for experts in layer.routed if experts.fused == fused)
        for fused in (True, False)
    ]
    amount = round((each[0] * expert_bytes(plan) + each[1] * weight_bytes(plan)) * share)
    why = f"{count(plan.shape.expert_params)} expert weights at {amount / max(1, sum(each) * share):.3g} byte"
    return Term("experts", amount, why)


def embeddings_term(plan: MemoryPlan) -> Term:
    """Embeddings, untied head, norms and biases: never quantized (transformers quantizers/base.py,
    get_keys_to_not_convert). 4 bytes on a CPU, else 2."""
    shape = plan.shape
    embedding = shape.embedding if plan.embedding_on_card else 0
    params = embedding + shape.lookups + shape.head + shape.small_params
    bytes_per_param = plan.frozen_bytes
    tied = "head shared with the embeddings" if shape.tied else "embeddings, head"
    why = f"{count(params)} parameters ({tied}, norms) are not quantized: {bytes_per_param} byte each"
    if not plan.embedding_on_card:
        why += "; the input embedding is in host RAM"
    return Term("embeddings and head", params * bytes_per_param, why)


def image_tower_term(plan: MemoryPlan) -> Term:
    """Image and audio towers and what joins them to the text model: loaded even for text, and never quantized
    (unsloth_zoo peft_utils.py, SKIP_QUANTIZATION_MODULES; core/worker/architecture/model_class.py, outside_text)."""
    amount = plan.shape.tower * plan.frozen_bytes
    return Term("image tower", amount, f"{count(plan.shape.tower)} parameters, not quantized")


def pixels_term(plan: MemoryPlan) -> Term:
    """The pixels of a micro-batch's images, fp32, and once more in the tower's type."""
    amount = plan.pixels * (4 + plan.frozen_bytes)
    return Term("pixels", amount, "the images of a micro-batch, as their processor makes them")


def tower_pass_term(plan: MemoryPlan) -> Term:
    """One layer of the image tower, which is frozen: it keeps nothing for a backward pass. Derived; Gemma 3's
    took 0.7 of it at most (bench/results/vision_h200_2026-11-30.jsonl)."""
    amount = round(plan.pixels * plan.shape.tower_work * plan.frozen_bytes)
    why = "one layer of the image tower at work on a micro-batch; derived, not measured"
    return Term("image tower at work", amount, why, amount // 2, amount // 2)


def load_scratch_term(plan: MemoryPlan) -> Term:
    """Extra memory while loading: a tensor being quantized has its 16-bit original beside it, and an embedding that
    ends in host RAM is loaded to the card first. A model that is split is loaded into host RAM."""
    if plan.shards > 1:
        return Term("loading", round(offloaded_layer_bytes(plan)), "one layer whole, before it is split")
    if plan.card is None:
        file_bytes = plan.shape.file_bytes * plan.shape.params
        why = "the model's file while it is read; the system takes that back where RAM is short"
        return Term("loading", file_bytes, why, less=file_bytes)
    amount = 0 if plan.quant == "bf16" else 2 * plan.largest_matrix
    amount += LOFTQ_BYTES * plan.largest_matrix if plan.recipe.lora.init == "loftq" else 0
    amount += 0 if plan.embedding_on_card else 2 * plan.shape.embedding
    return Term("loading", amount, "one 16-bit tensor beside its stored form")


def lora_term(plan: MemoryPlan) -> Term:
    """Adapter weights: r x (inputs + outputs) for each matrix."""
    params = plan.lora_params
    if plan.recipe.trains_all:
        return Term("LoRA weights", 0, "no adapter")
    matrices = sum(adapted.times for adapted in plan.adapters)
    ranks = sorted({adapted.rank for adapted in plan.adapters})
    rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    why = f"rank {rank} on {matrices} matrices: {count(params)} at {plan.lora_bytes} byte"
    return Term("LoRA weights", params * plan.lora_bytes // plan.shards, why + _split(plan))


def _split(plan: MemoryPlan) -> str:
    return f", split over {plan.shards} cards" if plan.shards > 1 else ""


def trained_embeddings_term(plan: MemoryPlan) -> Term:
    """Embedding and head that are trained as a whole, or all weights, beside the frozen ones. The frozen embeddings are
    moved to disk with Unsloth's checkpointing, unless input and output share them (models/llama.py, get_peft_model).
    Measured with four layers of Llama 3.2 1B, whose input and output are shared (H200, 2026-11-30)."""
    to_disk = plan.unsloth and plan.recipe.train.checkpointing == "unsloth" and not plan.shape.tied
    amount = plan.fully_trained_params * (plan.fully_trained_weight_bytes - (2 if to_disk else 0))
    why = f"{count(plan.fully_trained_params)} parameters trained whole, at {plan.fully_trained_weight_bytes} byte"
    if plan.recipe.trains_all:
        copies = 2 * plan.fully_trained_params if plan.card else 0  # in 16 bits, which autocast may hold
        return Term("trained weights", amount, f"{why}, beside the model as it was", more=copies)
    return Term("trained embeddings", amount, why + (" instead of 2" if to_disk else ""), more=amount)


def gradients_term(plan: MemoryPlan) -> Term:
    """One gradient for each trained weight, in its dtype; torch frees them between steps (set_to_none)."""
    params = plan.learning_lora_params
    why = f"one for each of {count(params)} LoRA weights at {plan.lora_bytes} byte"
    whole = plan.fully_trained_params * plan.fully_trained_weight_bytes
    if plan.recipe.trains_all:
        return Term("gradients", whole, f"one for each of {count(plan.fully_trained_params)} weights at 4 byte")
    if whole:
        why += (
            f", and of {count(plan.fully_trained_params)} of embeddings and head at {plan.fully_trained_weight_bytes}"
        )
    return Term("LoRA gradients", params * plan.lora_bytes // plan.shards + whole, why + _split(plan), more=whole)


def optimizer_term(plan: MemoryPlan) -> Term:
    """Optimizer states of every trained tensor. Paged ones are managed memory, which neither torch nor the driver
    counts for the process: the pages on the card move to host RAM when it is full."""
    total, paged = state_bytes(plan)
    name, params = plan.recipe.train.optimizer, plan.lora_params + plan.fully_trained_params
    trained = "trained" if plan.fully_trained_params else "LoRA"
    why = f"{name}: {total / params:.2f} byte for each of {count(params)} {trained} weights"
    if paged:
        why += f", of which {gib(paged)} can move to host RAM and are not counted"
    return Term("optimizer states", round((total - paged) / plan.shards), why + _split(plan))


def state_bytes(plan: MemoryPlan) -> tuple[float, float]:
    """Bytes of all optimizer states, and of the paged ones among them."""
    name = plan.recipe.train.optimizer
    total = paged = 0.0
    for each in plan.adapters:
        rank = each.rank * each.experts
        for side in (each.outputs,) if name == "lora_fa" else (each.inputs, each.outputs):
            amount = each.times * _state_bytes(name, rank, side, plan.lora_bytes)
            total += amount
            paged += amount if name.startswith("paged") and rank * side >= PAGED_STATE else 0
    if plan.fully_trained_params:
        hidden, embedding = plan.shape.hidden, trained_embedding(plan)
        others = (plan.fully_trained_params - embedding) // hidden
        whole = _state_bytes(name, hidden, others, plan.fully_trained_weight_bytes)
        # transformers' Trainer keeps those of each nn.Embedding in fp32 where others have 8 bits (create_optimizer)
        bytes_each = 4 if "8bit" in name else plan.fully_trained_weight_bytes
        whole += _state_bytes(name.removesuffix("_8bit"), hidden, embedding // hidden, bytes_each)
        total, paged = total + whole, paged + (whole if name.startswith("paged") else 0)
    return total, paged


def trained_embedding(plan: MemoryPlan) -> int:
    """Weights of the input embedding, where it is trained whole; they may be the head's, too."""
    return plan.shape.embedding if plan.recipe.trains_all or plan.fully_trains("embed_tokens") else 0


def embedding_gradient_term(plan: MemoryPlan) -> Term:
    """The gradient of an input embedding as it comes out of the backward pass, beside the one that it is added to: that
    of the head where both are the same weights, or of the micro-batch before."""
    is_added = plan.shape.tied or plan.recipe.train.grad_accum > 1
    amount = plan.fully_trained_weight_bytes * trained_embedding(plan) if is_added else 0
    return Term("gradient of the embedding", amount, f"{count(trained_embedding(plan))} weights, before it is added")


def _state_bytes(optimizer: str, rank: int, side: int, weight_bytes: int) -> float:
    """Bytes of one tensor's states. Sources: bitsandbytes optim/optimizer.py; torch.optim (states in the weight's
    dtype); transformers Adafactor (a row and a column of fp32); plain SGD has none."""
    elements = rank * side
    states = 1 if "lion" in optimizer else 2
    if "8bit" in optimizer:
        return elements * states * (STATE_8BIT_BYTES if elements >= SMALL_STATE else 4)
    if optimizer == "sgd":
        return 0
    if optimizer == "adafactor":
        return 4 * (rank + side)  # of all weights as one matrix: their own rows and columns are as little
    return elements * (8 if optimizer == "paged_adamw_32bit" else states * weight_bytes)


def step_scratch_term(plan: MemoryPlan) -> Term:
    """Temporary memory of the optimizer step; fused and bitsandbytes optimizers work in place."""
    name, width = plan.recipe.train.optimizer, plan.fully_trained_weight_bytes
    if name == "adafactor" and plan.fully_trained_params:
        layers = plan.largest_matrix if plan.recipe.trains_all else 0
        largest = max(trained_embedding(plan), plan.shape.vocab * plan.shape.hidden, layers)
        copies = 2 if width == 4 else 4  # of 16-bit weights and their gradients in fp32, too (optimization.py)
        return Term("optimizer scratch", 4 * largest * copies, f"{copies} copies of the largest weights in fp32")
    if name not in ("adamw_torch", "adafactor"):
        return Term("optimizer scratch", 0, "works in place")
    amount = plan.lora_params * plan.lora_bytes // plan.shards
    amount += plan.fully_trained_params * width if plan.recipe.trains_all else 0
    return Term("optimizer scratch", amount, "one more copy of the trained weights")
