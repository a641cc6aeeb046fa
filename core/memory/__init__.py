"""The memory budget of a recipe, item by item: pure arithmetic on a model's shape."""

from fitune.core.memory.budget import (
    CONTEXT_BYTES,
    DRIVER_BYTES,
    RUNTIME_CPU_BYTES,
    Budget,
    BudgetPart,
    Card,
    estimate,
    in_ram,
    safe_bytes,
    verdict_of,
)
from fitune.core.memory.disk import GGUF_BYTES
from fitune.core.memory.loss import CHUNK_TARGET_CAP
from fitune.core.memory.plan import EXPERT_NAMES, FAST_UNSLOTH, FLAT_MULTIPLE
from fitune.core.memory.shapes import (
    Experts,
    Layer,
    Linear,
    Mixer,
    Shape,
    are_named_experts,
    is_named,
    refuse_beyond_places,
)
from fitune.core.memory.shapes.adapted import idle_choices
from fitune.core.memory.shapes.widths import mlp_params

__all__ = [
    "CHUNK_TARGET_CAP",
    "CONTEXT_BYTES",
    "DRIVER_BYTES",
    "EXPERT_NAMES",
    "FAST_UNSLOTH",
    "FLAT_MULTIPLE",
    "GGUF_BYTES",
    "RUNTIME_CPU_BYTES",
    "Budget",
    "BudgetPart",
    "Card",
    "Experts",
    "Layer",
    "Linear",
    "Mixer",
    "Shape",
    "are_named_experts",
    "estimate",
    "idle_choices",
    "in_ram",
    "is_named",
    "mlp_params",
    "refuse_beyond_places",
    "safe_bytes",
    "verdict_of",
]
