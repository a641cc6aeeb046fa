"""The pace of a training, with honest bounds: arithmetic of the model over what the card can do.

A frozen weight costs 2 operations a token forward, 2 for the gradient of its input, and 2 more where checkpointing
recomputes; it needs no gradient of its own, so LoRA costs 6 a parameter and token where full training costs 8.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from fitune.core.memory import Linear, Shape, mlp_params
from fitune.core.recipe import Objective, Recipe

CARDS: dict[str, tuple[float, float, float]] = {
    "B200": (2250, 8000, 63),
    "H200": (989, 4800, 63),
    "H100": (989, 3350, 63),
    "H100 PCIe": (756, 2000, 63),
    "A100": (312, 1935, 31.5),
    "L40S": (362, 864, 31.5),
    "L4": (121, 300, 31.5),
    "A10": (125, 600, 31.5),
    "A10G": (70, 600, 31.5),
    "RTX A6000": (155, 768, 31.5),
    "RTX 6000 Ada Generation": (364, 960, 31.5),
    "RTX 5090": (210, 1792, 63),
    "RTX 5080": (113, 960, 63),
    "RTX 4090": (165, 1008, 31.5),
    "RTX 4080": (97, 717, 31.5),
    "RTX 4070": (58, 504, 31.5),
    "RTX 4060 Ti": (44, 288, 15.8),
    "RTX 4060": (30, 272, 15.8),
    "RTX 3090": (71, 936, 31.5),
    "RTX 3080": (60, 760, 31.5),
    "RTX 3070": (41, 448, 31.5),
    "RTX 3060": (26, 360, 31.5),
    "Tesla V100": (125, 900, 15.8),
    "Tesla T4": (65, 320, 15.8),
}
"""Dense 16-bit tensor TFLOP/s with fp32 sums, memory GB/s, PCIe GB/s each way: the makers' data sheets. The name is
looked for in what the driver says; laptop cards, MIG slices and shares of a card in a virtual machine (NVIDIA A10-4Q)
have other numbers and are not known."""
TYPICAL = "RTX 4090"
"""Stands in where recipes are compared on a card without figures: an ordinary card with an ordinary bus."""
EFFICIENCY = {"unsloth": 0.51, "trl": 0.23}
"""Share of the card's TFLOP/s that matrix products reach: fitted to micro-batches of 200 to 12,800 tokens of models
from 135M to 14B in NF4 on an H200 (bench/results/pace_h200_2026-11-29.jsonl: torch 2.11.0, unsloth 2026.10.7)."""
ATTENTION_EFFICIENCY = 0.335
"""The same for attention over long rows: set by the rows of 12,800 tokens there."""
HOST_S = {
    ("unsloth", "recomputed"): 0.0120,
    ("unsloth", "kept"): 0.0076,
    ("trl", "recomputed"): 0.0200,
    ("trl", "kept"): 0.0131,
}
"""Seconds that the host takes to start the kernels of one layer in a micro-batch, whatever the micro-batch holds, by
backend and checkpointing: from the same rows. An 8B has 32 layers, so 400 tokens cost it as much as 4,000."""
HOST_SHARE_16BIT = 0.83
"""Of that what is left without quantized weights, which each matrix first has to unpack."""
PASSES_MORE: dict[Objective, int] = {"dpo": 1, "kto": 3}
"""Passes forward of an objective beside those of a training: dpo takes the rows once more with the adapter off; kto
that, and rows with each other's answers with and without it (TRL 1.15, dpo_trainer.py and kto_trainer.py)."""
FORWARD_SHARE = 1 / 3
"""Of the host's and the memory's time for a micro-batch the part of one pass forward: an assumption."""
OPTIMIZER_S = {"adamw_torch_fused": 0.00001}
OTHER_OPTIMIZER_S = 0.00008
"""Seconds of an optimizer step for each adapter matrix; 448 of an 8B took 30 ms more in 8 bits than fused."""
PCIE_SHARE = 0.8
"""Share of PCIe's nominal speed that large pinned copies reach; an assumption."""
VISIBLE_SHARE = 0.2
"""Of the traffic that hides behind arithmetic, the part that costs time all the same: 9,200 instead of 9,600 tokens/s
with 23 of 32 layers of that 8B model in host RAM."""
MEASURED = ("H100", "H200")
LOW, HIGH = 0.5, 1.7
"""Bounds on other cards and hosts than the measured ones: an assumption, as wide as so few measurements deserve."""
MEASURED_LOW, MEASURED_HIGH = 0.75, 1.4
"""Bounds on cards of the measured kinds: nearly all measured micro-batches lie within them."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of a training in tokens a second, padding included; null for a card without figures."""

    low_tokens_per_s: float | None
    """The slowest pace that is likely."""
    tokens_per_s: float | None
    """The expected pace, in tokens a second."""
    high_tokens_per_s: float | None
    """The fastest pace that is likely."""
    flops_per_token: float
    """Floating-point operations for one token, recomputation and LoRA included."""
    why: str
    """Operations for one token, and the limit: the card's speed, PCIe or the start of kernels."""


def estimate_pace(
    shape: Shape,
    recipe: Recipe,
    gpu_name: str | None,
    row_tokens: float | None = None,
    layers_away: int | None = None,
    micro_batches: float | None = None,
) -> Pace:
    """The pace of a recipe on a card, by the name that the driver gives.

    row_tokens: tokens of a row, padding included; None means full rows. layers_away: layers in host RAM, where the
    recipe leaves them to Unsloth ("auto"); core.memory.budget tells them. None takes the recipe's number.
    micro_batches: those of an optimizer step, on average; None takes the recipe's train.grad_accum.
    """
    length = row_tokens or recipe.model.max_seq_length * recipe.train.texts
    text_tokens = length / recipe.train.texts
    flops = flops_per_token(shape, recipe, text_tokens)
    card = _card(gpu_name)
    if card is None:
        said = f"no figures for {gpu_name}" if gpu_name else "no card"
        return Pace(None, None, None, flops, f"{flops / 1e9:.1f} billion operations a token; {said}")
    tflops, gb_per_s, pcie_gb_per_s = card
    backend, train = "trl" if recipe.train.backend == "trl" else "unsloth", recipe.train
    passes = micro_batches or train.grad_accum
    tokens = train.micro_batch * train.grad_accum * length / passes
    linear_flops = flops_per_token(shape, recipe, 0)
    card_s = linear_flops / EFFICIENCY[backend] + (flops - linear_flops) / ATTENTION_EFFICIENCY
    read_s = _weight_bytes(shape, recipe) / (gb_per_s * 1e9)
    more = 1 + FORWARD_SHARE * PASSES_MORE.get(train.objective, 0)
    unpack_s = more * _unpack_bytes(shape, recipe) / (gb_per_s * 1e9)
    card_s = max(tokens * card_s / (tflops * 1e12), more * read_s) + unpack_s
    host_s = more * _host_s(shape, recipe, backend)
    moved = _fetched_bytes(shape, recipe, layers_away) + _parked_bytes(shape, recipe, tokens)
    transfer_s = moved / (PCIE_SHARE * pcie_gb_per_s * 1e9)
    busy_s = max(card_s, host_s)  # the host works ahead of the card
    micro_s = max(busy_s + VISIBLE_SHARE * transfer_s, transfer_s)
    middle = passes * tokens / (passes * micro_s + _optimizer_s(shape, recipe))
    if transfer_s > busy_s:
        limit = "PCIe"
    else:
        limit = (
            f"{EFFICIENCY[backend]:.0%} of {tflops:,.0f} TFLOP/s" if card_s > host_s else "the time to start kernels"
        )
    why = f"{flops / 1e9:.1f} billion operations a token, limited by {limit}"
    known = any(re.search(rf"\b{name}\b", gpu_name or "") for name in MEASURED)
    low, high = (MEASURED_LOW, MEASURED_HIGH) if known else (LOW, HIGH)
    return Pace(middle * low, middle, middle * high, flops, why)


def _host_s(shape: Shape, recipe: Recipe, backend: str) -> float:
    """Seconds of a micro-batch that the host takes to start its kernels."""
    share = recomputed_share(shape, recipe)
    a_layer_s = share * HOST_S[backend, "recomputed"] + (1 - share) * HOST_S[backend, "kept"]
    is_16bit = recipe.model.quant == "bf16" and shape.stored_as is None
    return a_layer_s * len(shape.layers) * (HOST_SHARE_16BIT if is_16bit else 1)


def recomputed_share(shape: Shape, recipe: Recipe) -> float:
    """The share of the layers whose forward pass is computed twice."""
    if recipe.train.checkpointing == "off":
        return 0.0
    return 1 - min(len(shape.layers), recipe.train.checkpoint_skip_layers or 0) / len(shape.layers)


def _optimizer_s(shape: Shape, recipe: Recipe) -> float:
    """Seconds of an optimizer step beside its micro-batches."""
    a_matrix_s = OPTIMIZER_S.get(recipe.train.optimizer, OTHER_OPTIMIZER_S)
    return 2 * a_matrix_s * sum(times for _, times in _adapted(shape, recipe))


def flops_per_token(shape: Shape, recipe: Recipe, length: float) -> float:
    """Operations a token in rows of `length` tokens. Layers: 2 forward, 2 backward, 2 recomputed a weight. Head: 2 and
    2, never recomputed. Causal attention of S tokens: 2 Q S forward (half of the square), 2.5 times that backward.
    LoRA: 2, 4 and 2. Each pass forward that an objective needs to compare costs 2 a weight more. Where all weights are
    trained: 2 more backward a weight, and no LoRA. An MLP in tiles is computed once more: 2 a weight.
    """
    again, more = recomputed_share(shape, recipe), PASSES_MORE.get(recipe.train.objective, 0)
    passes = 4 + 2 * again + 2 * more
    head = shape.vocab * shape.hidden
    window = min(length, shape.window or length)
    seen = window * shape.windowed_layers + length * (len(shape.layers) - shape.windowed_layers)
    attention = 2 * shape.queries * seen * (3.5 + again + more)
    if recipe.trains_all:
        return (passes + 2) * (shape.active_params - head) + (6 + 2 * more) * head + attention
    tiles = 2 * mlp_params(shape) if recipe.train.tiled_mlp else 0
    lora = sum(recipe.lora.r * (linear.inputs + linear.outputs) * times for linear, times in _adapted(shape, recipe))
    return passes * (shape.active_params - head) + (4 + 2 * more) * head + attention + (passes + 2) * lora + tiles


def _adapted(shape: Shape, recipe: Recipe) -> Iterator[tuple[Linear, int]]:
    """The distinct matrices that get an adapter, with the number of layers that have each."""
    chosen, layers = recipe.lora.target_modules, recipe.lora.layers
    names = None if chosen == "all-linear" else {name.rpartition(".")[2] for name in chosen}
    matrices: Iterable[tuple[Linear, int]] = shape.matrices
    if layers is not None:
        some = (shape.layers[index] for index in layers if index < len(shape.layers))
        matrices = Counter(linear for layer in some for linear in layer.linears).items()
    return (
        (linear, times) for linear, times in matrices if (linear.adapted if names is None else linear.name in names)
    )


def _weight_bytes(shape: Shape, recipe: Recipe) -> float:
    """Memory traffic of the weights in a micro-batch: 2 bytes read at each pass, while the card multiplies."""
    return 2 * shape.linear_params * (2 + recomputed_share(shape, recipe))


def _unpack_bytes(shape: Shape, recipe: Recipe) -> float:
    """Memory traffic of dequantizing in a micro-batch: half a byte read and 2 written, at each pass."""
    if recipe.model.quant == "bf16" and shape.stored_as is None:
        return 0
    return 2.5 * shape.linear_params * (2 + recomputed_share(shape, recipe))


def _fetched_bytes(shape: Shape, recipe: Recipe, layers_away: int | None) -> float:
    """Bytes that layers in host RAM move over PCIe in a micro-batch: each once forward, once backward."""
    wanted, total = recipe.train.offload_layers, len(shape.layers)
    away = layers_away if layers_away is not None else wanted if isinstance(wanted, int) else 0
    each = 2 if recipe.model.quant == "bf16" and shape.stored_as is None else 0.516
    return 2 * each * (shape.linear_params + shape.expert_params) * min(away, total) / total


def _parked_bytes(shape: Shape, recipe: Recipe, tokens: float) -> float:
    """Each layer's input but the last one's, in 16 bits, back from host RAM; the way there is another direction."""
    parks = recipe.train.checkpointing == "unsloth" and recipe.train.backend != "trl"
    return 2 * tokens * shape.hidden * (len(shape.layers) - 1) if parks else 0


@lru_cache(maxsize=16)  # a search asks for the same card some hundred times
def _card(gpu_name: str | None) -> tuple[float, float, float] | None:
    if not gpu_name or re.search(r"laptop|max-q|mobile|\bmig\b|-\d+[abcq]\b", gpu_name, re.IGNORECASE):
        return None
    found = [name for name in CARDS if re.search(rf"\b{re.escape(name)}\b", gpu_name, re.IGNORECASE)]
    best = max(found, key=len, default=None)
    # A "Ti" or "SUPER" that the table does not list is another card.
    if best is None or re.search(rf"\b{re.escape(best)}\s+(ti|super|d)\b", gpu_name, re.IGNORECASE):
        return None
    return CARDS[best]
