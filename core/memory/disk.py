"""Disk space of a run: download, checkpoints, adapter, merged model, GGUF files."""

from fitune.core.memory.plan import MemoryPlan
from fitune.core.memory.weights import layer_bytes, state_bytes, weight_bytes
from fitune.core.recipe import BEGINS_FILLED

GGUF_BYTES = {
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q6_k": 210 / 256,
    "q5_k_m": 0.711,
    "q4_k_m": 0.606,
}
"""Bytes a weight. q8_0 and q6_k are block layouts of llama.cpp's ggml; the _m mixes average 5.69 and 4.85 bits on
Llama-3.1-8B and shift a little from model to model."""


TOKENIZER_BYTES = 20 << 20
"""The tokenizer's files, which each checkpoint holds: 2 to 35 MB in the models of the presets."""


def disk_bytes(plan: MemoryPlan) -> int:
    """Bytes that download and run need together; the download is counted even if the Hub's cache has the model."""
    params, lora = plan.shape.params, _trained_bytes(plan)
    # A new checkpoint is written before the oldest is removed.
    checkpoints = (plan.recipe.train.keep_checkpoints + 1) * checkpoint_bytes(plan)
    # An init that begins filled keeps the first adapter too, and saves one of twice the rank.
    adapter = 3 * lora if plan.recipe.lora.init in BEGINS_FILLED else lora
    deliver = plan.recipe.deliver
    merged = (4 if plan.recipe.trains_all else 2) * params if deliver.merge or deliver.gguf else 0
    gguf = sum(params * GGUF_BYTES[kind] for kind in deliver.gguf)
    return round(download_bytes(plan) + checkpoints + adapter + merged + gguf)


def checkpoint_bytes(plan: MemoryPlan) -> int:
    """Bytes of a checkpoint: what is trained, the optimizer's states, and the tokenizer."""
    all_states, _ = state_bytes(plan)
    return round(_trained_bytes(plan) + all_states + TOKENIZER_BYTES)


def _trained_bytes(plan: MemoryPlan) -> float:
    return plan.lora_params * plan.lora_bytes + plan.fully_trained_params * plan.fully_trained_weight_bytes


def download_bytes(plan: MemoryPlan) -> int:
    """Bytes of the model's weights as they are stored."""
    shape = plan.shape
    if shape.stored_as is None:
        return shape.file_bytes * shape.params
    others = shape.params - shape.linear_params - shape.expert_params
    return round(layer_bytes(plan) + weight_bytes(plan) * shape.expert_params + shape.file_bytes * others)
