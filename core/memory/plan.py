"""The memory plan: a recipe resolved against a model's shape and a card, for the terms of the budget."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.memory.architectures import Linear
from fitune.core.memory.shapes import Shape
from fitune.core.recipe import Quant, Recipe
from fitune.core.units import GIB, MIB

FAST_UNSLOTH = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "qwen3_moe"})
"""Architectures with hand-written layers in unsloth 2026.10 (models/loader.py); the others run compiled HF code."""
UNSLOTH_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
EXPERT_NAMES = frozenset({"gate_proj", "up_proj", "gate_up_proj", "down_proj"})
"""Module names that mean fused expert weights to Unsloth in a mixture of experts (_MOE_BROAD_MLP_TARGETS there)."""
HOST_CHECKPOINT_MIN_TOKENS = 512
"""Below this max_seq_length Unsloth keeps checkpoints on the card (models/_utils.py,
apply_unsloth_gradient_checkpointing)."""

FLAT_MULTIPLE = 64
"""Rows that Unsloth's own layers take end to end are filled up to a multiple of this many tokens, for which matrix
kernels are faster: 4,633 instead of 4,287 tokens/s with an 8B in NF4 and 8 rows of 200 tokens on an H200."""


@dataclass(frozen=True, slots=True)
class Card:
    """The properties of a card that the budget needs."""

    total_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int] | None = (8, 0)
    expandable_segments: bool = True
    """True if CUDA can grow allocations in place: on Linux, not on Windows and WSL."""


@dataclass(frozen=True, slots=True)
class Term:
    """An amount of memory, the sentence that explains it, and how far below or above it the truth may lie (bytes)."""

    name: str
    bytes: int
    why: str
    less: int = 0
    more: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """A recipe resolved against shape and card. Counts in tokens and parameters.

    Without slots, so that the sums below can be cached: the budget is computed at every keystroke.
    """

    shape: Shape
    recipe: Recipe
    card: Card | None
    unsloth: bool
    quant: Quant
    length: int
    """Tokens of the longest row."""
    tokens: int
    """Tokens of one micro-batch, padding included."""
    checkpoints: Literal["host", "card", "off"]
    adapters: tuple[tuple[Linear, int], ...]
    """The matrices that get a LoRA pair, with the number of layers."""
    resident_layers: int
    embedding_on_card: bool = True
    refused: bool = False
    """True if Unsloth would refuse to load: its "auto" finds no number of layers that leaves the room it wants."""

    @property
    def skipped_layers(self) -> int:
        """Layers whose activations are kept while those of the others are recomputed. Unsloth takes them among the
        layers on the card (models/_utils.py, skip_checkpointing)."""
        wanted = self.recipe.train.checkpoint_skip_layers or 0
        return min(wanted, self.resident_layers) if self.unsloth and self.checkpoints != "off" else 0

    @property
    def stream_bytes(self) -> int:
        """Bytes an element of the residual stream: 2 on a card, 4 on a CPU."""
        return 4 if self.card is None else 2

    @property
    def lora_bytes(self) -> int:
        """Bytes a LoRA weight: fp32, but TRL 1.15 casts adapters of a quantized model to bf16 (sft_trainer.py), and
        the worker casts them back where the card has none."""
        return 2 if not self.unsloth and self.quant != "bf16" and self.fully_trained_weight_bytes == 2 else 4

    @cached_property
    def lora_params(self) -> int:
        """r x (inputs + outputs) a matrix, and one magnitude an output with DoRA."""
        rank, dora = self.recipe.lora.r, self.recipe.lora.dora
        return sum(
            layers * (rank * (linear.inputs + linear.outputs) + (linear.outputs if dora else 0))
            for linear, layers in self.adapters
        )

    @property
    def largest_matrix(self) -> int:
        """Weights of the layers' largest matrix: the unit of every dequantization buffer."""
        return max(linear.weights for linear, _ in self.shape.matrices)

    @property
    def hand_written(self) -> bool:
        """True if Unsloth's own layer code runs, whose activations are derived; not with DoRA or trained biases
        (models/llama.py, patch_peft_model)."""
        lora = self.recipe.lora
        return self.unsloth and self.shape.model_type in FAST_UNSLOTH and not lora.dora and lora.bias == "none"

    def fully_trains(self, module: str) -> bool:
        """True if Unsloth trains the whole "embed_tokens" or "lm_head", as it does where lora.target_modules names it
        (unsloth 2026.10, models/_utils.py, _redirect_embedding_targets)."""
        chosen = self.recipe.lora.target_modules
        names = () if chosen == "all-linear" else chosen
        return self.unsloth and any(name.rpartition(".")[2] == module for name in names)

    @cached_property
    def fully_trained_params(self) -> int:
        """Parameters of input embedding and head that are trained as a whole; a shared pair counts once."""
        shape = self.shape
        embedding = shape.embedding_params if self.fully_trains("embed_tokens") else 0
        head = shape.vocab * shape.hidden if self.fully_trains("lm_head") else 0
        return max(embedding, head) if shape.tied else embedding + head

    @property
    def fully_trained_weight_bytes(self) -> int:
        """Bytes of each fully trained weight: 2, but 4 on a card without bf16 (models/llama.py,
        _offload_frozen_module_for_training)."""
        return 2 if self.card is None or (self.card.compute_capability or (8, 0)) >= (8, 0) else 4


def make_plan(
    shape: Shape, recipe: Recipe, card: Card | None, tokens: int | None, micro_tokens: int | None = None
) -> MemoryPlan:
    """The plan with all layers on the card. `tokens`: length of the longest row; None counts rows as full.
    `micro_tokens`: those of the largest micro-batch; None counts each of its rows as the longest.

    Raises UserError where the model's files can't be trained, or the chosen modules are not in it.
    """
    train, length = recipe.train, recipe.model.max_seq_length
    if tokens is not None and recipe.data.packing is not True:
        length = max(1, min(length, tokens))
    unsloth = train.backend == "unsloth" or (train.backend == "auto" and card is not None)
    if unsloth and train.offload_layers is not None and shape.stored_as == "int8":
        message = f"{shape.name} is stored in 8 bits, and such layers are not kept in host RAM."
        raise UserError(message, "Remove train.offload_layers, or use the original 16-bit repository.")
    return MemoryPlan(
        shape=shape,
        recipe=recipe,
        card=card,
        unsloth=unsloth,
        quant=_stored_quant(shape, recipe),
        length=length,
        tokens=_batch_tokens(
            min(train.micro_batch * length, micro_tokens or train.micro_batch * length),
            unsloth and shape.model_type in FAST_UNSLOTH,
        ),
        checkpoints=_checkpoints(recipe, unsloth),
        adapters=_adapters(shape, recipe, unsloth),
        resident_layers=len(shape.layers),
    )


def _batch_tokens(tokens: int, filled_up: bool) -> int:
    """The tokens of a micro-batch, with those that it is filled up with."""
    return math.ceil(tokens / FLAT_MULTIPLE) * FLAT_MULTIPLE if filled_up else tokens


def _stored_quant(shape: Shape, recipe: Recipe) -> Quant:
    """The quantization in use: a repository that is already quantized stays as it is, whatever the recipe says."""
    if shape.stored_as is None:
        return recipe.model.quant
    if shape.stored_as in ("nf4", "fp4"):
        return "nf4"
    if shape.stored_as == "int8":
        return "int8"
    raise UserError(
        f"{shape.name} is stored in the format {shape.stored_as}, which can't be trained here.",
        "Use the original 16-bit repository: fitune quantizes it while loading.",
    )


def _checkpoints(recipe: Recipe, unsloth: bool) -> Literal["host", "card", "off"]:
    checkpointing = recipe.train.checkpointing
    if checkpointing == "off":
        return "off"
    long_enough = recipe.model.max_seq_length >= HOST_CHECKPOINT_MIN_TOKENS
    return "host" if checkpointing == "unsloth" and unsloth and long_enough else "card"


def _adapters(shape: Shape, recipe: Recipe, unsloth: bool) -> tuple[tuple[Linear, int], ...]:
    chosen, layers = recipe.lora.target_modules, recipe.lora.layers
    all_names = {linear.name for linear, _ in shape.matrices}
    fused = bool(all_names - set(UNSLOTH_LINEARS))
    names = all_names if fused or not unsloth else set(UNSLOTH_LINEARS)
    if chosen != "all-linear":  # peft takes the end of a path as well: self_attn.q_proj
        names = {name.rpartition(".")[2] for name in chosen}
    counts = Counter(
        linear
        for index, layer in enumerate(shape.layers)
        if layers is None or index in layers
        for linear in layer.linears
        if linear.name in names
    )
    if not counts:
        last = len(shape.layers) - 1
        hint = f"It has {', '.join(sorted(all_names))} in layers 0 to {last}."
        raise UserError(f"lora.target_modules and lora.layers choose nothing in {shape.name}.", hint)
    return tuple(counts.items())


def gib(amount: float) -> str:
    """Bytes as text: 5.31 GiB, 98.2 MiB."""
    return f"{amount / GIB:.2f} GiB" if amount >= GIB / 10 else f"{amount / MIB:.1f} MiB"


def count(amount: int) -> str:
    """A number of parameters as text: 6.98 B, 41.9 M."""
    return f"{amount / 1e9:.2f} B" if amount >= 1e9 else f"{amount / 1e6:.1f} M"
