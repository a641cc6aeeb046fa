"""The memory plan: a recipe resolved against a model's shape and a card, for the terms of the budget."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.memory.shapes import Shape, refuse_beyond_places, refuse_untrainable
from fitune.core.memory.shapes.adapted import Adapted, adapted_matrices
from fitune.core.recipe import Quant, Recipe
from fitune.core.units import GIB, MIB

FAST_UNSLOTH = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"})
"""Architectures with hand-written layers in unsloth 2026.10 (models/loader.py); the others run compiled HF code."""
UNSLOTH_KEEPS = ("router", "mlp.gate", "block_sparse_moe.gate", "moe.gate")
"""Ends of paths of matrices that Unsloth leaves in 16 bits (unsloth_zoo peft_utils.py, SKIP_QUANTIZATION_MODULES), as
far as they stand in a text model's layers."""
UNSLOTH_KEEPS_ALL = "mamba"
"""A part of a path in which it leaves all matrices in 16 bits (the same list)."""
UNSLOTH_KEEPS_IN = {"nemotron_h": ("out_proj",)}
"""The same in one architecture (unsloth models/vision.py, _architecture_skip_modules)."""
UNSLOTH_NEVER_QUANTIZES = frozenset({"gpt_oss"})
"""Architectures whose 16-bit files it loads as they are (unsloth_zoo temporary_patches/gpt_oss.py, and
core/worker/architecture/model_class.py, choose_expert_layout)."""
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
    ranks: int = 1
    """Cards that train together, of which this is the one with least free memory."""


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
    """Tokens of the largest micro-batch, padding included."""
    sizes_differ: bool
    """True if the rows have their own lengths, so that there are smaller micro-batches as well."""
    padded: bool
    """True if several rows of known lengths make a micro-batch: most are filled up to the longest."""
    checkpoints: Literal["host", "card", "off"]
    adapters: tuple[Adapted, ...]
    """The matrices that get a LoRA pair."""
    resident_layers: int
    pixels: int = 0
    """Values of the pixels of a micro-batch's images, as the model's processor makes them."""
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
    def tiles(self) -> bool:
        """True if an MLP takes a part of the tokens at a time."""
        return self.recipe.train.tiled_mlp and self.unsloth and self.checkpoints != "off"

    @property
    def ranks(self) -> int:
        """Cards that train together."""
        return self.card.ranks if self.card else 1

    @property
    def shards(self) -> int:
        """Cards that the layers are split over; 1 if each holds the whole model."""
        return self.ranks if self.recipe.run.shard is True else 1

    @property
    def stream_bytes(self) -> int:
        """Bytes an element of the residual stream: 2 on a card, 4 on a CPU and behind norms of 32 bits."""
        return 4 if self.card is None or self.recipe.trains_all else 2

    @property
    def frozen_bytes(self) -> int:
        """Bytes of a frozen weight that is not quantized: 2 on a card, 4 on a CPU."""
        return 4 if self.card is None else 2

    @property
    def lora_bytes(self) -> int:
        """Bytes a LoRA weight: fp32, but TRL 1.15 casts adapters of a quantized model to bf16 (sft_trainer.py), and
        the worker casts them back where the card has none."""
        return 2 if not self.unsloth and self.quant != "bf16" and self.has_bf16 else 4

    @property
    def has_bf16(self) -> bool:
        """True on a card that computes in bf16."""
        return self.card is not None and (self.card.compute_capability or (8, 0)) >= (8, 0)

    @cached_property
    def lora_params(self) -> int:
        """r x (inputs + outputs) a matrix, and one magnitude an output with DoRA."""
        dora = self.recipe.lora.dora
        return sum(
            each.times * (each.rank * each.experts * (each.inputs + each.outputs) + (each.outputs if dora else 0))
            for each in self.adapters
        )

    @cached_property
    def learning_lora_params(self) -> int:
        """Those that get a gradient: LoRA-FA trains the matrices B, of r x outputs, alone."""
        if self.recipe.train.optimizer != "lora_fa":
            return self.lora_params
        return sum(each.times * each.rank * each.outputs for each in self.adapters)

    @cached_property
    def kept_16bit_params(self) -> int:
        """Weights of matrices that are in 16 bits though the others are quantized."""
        shape = self.shape
        if shape.stored_as is not None:
            return shape.kept_16bit
        keeps = (*UNSLOTH_KEEPS, *UNSLOTH_KEEPS_IN.get(shape.model_type, ())) if self.unsloth else ()
        return sum(
            linear.weights * times
            for linear, times in shape.matrices
            if not linear.packed
            or linear.path.endswith(keeps)
            or (self.unsloth and UNSLOTH_KEEPS_ALL in linear.path.split("."))
        )

    @property
    def takes_rows_alone(self) -> bool:
        """True if Unsloth's own layers take the attention of a micro-batch in one piece, since all its rows are of one
        length, and not by the kernel for many lengths (utils/attention_dispatch.py, _torch_varlen_beats_segments): it
        takes packed rows, in each of which several lie end to end."""
        of_one_length = not self.sizes_differ or self.recipe.train.micro_batch == 1
        return self.hand_written and of_one_length and self.recipe.data.packing is not True

    @property
    def largest_matrix(self) -> int:
        """Weights of the layers' largest matrix: the unit of every dequantization buffer."""
        return max((linear.weights for linear, _ in self.shape.matrices if linear.packed), default=0)

    @property
    def hand_written(self) -> bool:
        """True if Unsloth's own layer code runs, whose activations are derived; not with DoRA or trained biases
        (models/llama.py, patch_peft_model)."""
        lora = self.recipe.lora
        return self.unsloth and self.shape.model_type in FAST_UNSLOTH and not lora.dora and lora.bias == "none"

    def fully_trains(self, module: str) -> bool:
        """True if the whole "embed_tokens" or "lm_head" is trained beside an adapter: as lora.modules_to_save says, or
        with Unsloth lora.target_modules (unsloth 2026.10, models/_utils.py, _redirect_embedding_targets)."""
        lora = self.recipe.lora
        names = lora.target_modules if self.unsloth and lora.target_modules != "all-linear" else ()
        return module in (*lora.modules_to_save, *(name.rpartition(".")[2] for name in names))

    @cached_property
    def fully_trained_params(self) -> int:
        """Parameters that are trained themselves: of input embedding and head, where a shared pair counts once, or all
        of the text model."""
        shape = self.shape
        if self.recipe.trains_all:
            return shape.params - shape.tower
        embedding = shape.embedding if self.fully_trains("embed_tokens") else 0
        head = shape.vocab * shape.hidden if self.fully_trains("lm_head") else 0
        return max(embedding, head) if shape.tied else embedding + head

    @property
    def fully_trained_weight_bytes(self) -> int:
        """Bytes of each fully trained weight: 2, but 4 on a card without bf16 (models/llama.py,
        _offload_frozen_module_for_training), on a CPU, and where all are trained."""
        return 2 if self.has_bf16 and not self.recipe.trains_all else 4


def make_plan(
    shape: Shape,
    recipe: Recipe,
    card: Card | None,
    tokens: int | None,
    micro_tokens: int | None = None,
    pixels: int = 0,
) -> MemoryPlan:
    """The plan with all layers on the card. `tokens`: length of the longest row; None counts rows as full.
    `micro_tokens`: those of the largest micro-batch; None counts each of its rows as the longest.
    `pixels`: values of the pixels in it.

    Raises UserError where the model's files can't be trained, it has no places for such long rows, or no module that is
    chosen.
    """
    train, length = recipe.train, recipe.model.max_seq_length
    refuse_beyond_places(shape.name, shape.positions, length)
    rows = train.micro_batch * train.texts
    if tokens is not None and recipe.data.packing is not True:
        length = max(1, min(length, tokens))
    unsloth = train.backend == "unsloth" or (train.backend == "auto" and card is not None)
    if unsloth and train.tiled_mlp and shape.expert_params:
        message = f"{shape.name} sends its tokens to experts, which are not computed in tiles."
        raise UserError(message, "Remove train.tiled_mlp.")
    if unsloth and train.offload_layers is not None and shape.stored_as == "int8":
        message = f"{shape.name} is stored in 8 bits, and such layers are not kept in host RAM."
        raise UserError(message, "Remove train.offload_layers, or use the original 16-bit repository.")
    return MemoryPlan(
        shape=shape,
        recipe=recipe,
        card=card,
        unsloth=unsloth,
        quant=_stored_quant(shape, recipe, unsloth),
        length=length,
        tokens=_batch_tokens(
            min(rows * length, micro_tokens or rows * length),
            unsloth and shape.model_type in FAST_UNSLOTH and train.objective == "sft",
        ),
        sizes_differ=micro_tokens is not None
        and recipe.data.packing is not True
        and (train.micro_batch == 1 or micro_tokens < train.micro_batch * length),
        padded=micro_tokens is not None and recipe.data.packing is not True and rows > 1,
        checkpoints=_checkpoints(recipe, unsloth),
        adapters=adapted_matrices(shape, recipe, unsloth),
        resident_layers=len(shape.layers),
        pixels=pixels,
    )


def _batch_tokens(tokens: int, filled_up: bool) -> int:
    """The tokens of a micro-batch, with those that it is filled up with."""
    return math.ceil(tokens / FLAT_MULTIPLE) * FLAT_MULTIPLE if filled_up else tokens


def _stored_quant(shape: Shape, recipe: Recipe, unsloth: bool) -> Quant:
    """The quantization in use: a repository that is already quantized stays as it is, whatever the recipe says."""
    if shape.stored_as is None:
        return "bf16" if unsloth and shape.model_type in UNSLOTH_NEVER_QUANTIZES else recipe.model.quant
    refuse_untrainable(shape)
    return "int8" if shape.stored_as == "int8" else "nf4"


def _checkpoints(recipe: Recipe, unsloth: bool) -> Literal["host", "card", "off"]:
    checkpointing = recipe.train.checkpointing
    if checkpointing == "off":
        return "off"
    long_enough = recipe.model.max_seq_length >= HOST_CHECKPOINT_MIN_TOKENS
    return "host" if checkpointing == "unsloth" and unsloth and long_enough else "card"


def gib(amount: float) -> str:
    """Bytes as text: 5.31 GiB, 98.2 MiB."""
    return f"{amount / GIB:.2f} GiB" if amount >= GIB / 10 else f"{amount / MIB:.1f} MiB"


def count(amount: int) -> str:
    """A number of parameters as text: 6.98 B, 41.9 M."""
    return f"{amount / 1e9:.2f} B" if amount >= 1e9 else f"{amount / 1e6:.1f} M"
