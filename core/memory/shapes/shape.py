"""The shape of a model: its layers with their matrices and all other parts, as counted in transformers' own classes.

The shape job writes it (core/worker/architecture), as the JSON of `records.to_json`; nothing in it is guessed.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fitune.core.errors import UserError

Mixer = Literal["full", "window", "linear", "mamba", "conv", "none"]
"""How a layer mixes tokens: attention to all, or within a window; linear attention (Gated DeltaNet and kin), Mamba, a
short convolution; none, where a layer is an MLP alone."""
CARRIES_ON: frozenset[Mixer] = frozenset({"linear", "mamba", "conv"})
"""Mixers that carry something on from token to token. transformers 5.17 tells attention by the positions where a packed
row begins, and these not."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A weight matrix of `inputs` x `outputs`. LoRA and 4-bit storage apply to these."""

    path: str
    """In the layer: self_attn.q_proj. For a matrix outside the layers: in the model."""
    inputs: int
    outputs: int
    bias: bool = False
    adapted: bool = True
    """True if "all-linear" means it (core/worker/architecture/targets.py)."""
    packed: bool = True
    """True if bitsandbytes quantizes it: a plain nn.Linear, or GPT-2's Conv1D."""
    shared: bool = False
    """True if its weights are those of an earlier layer: only its adapter is its own (Zamba)."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def weights(self) -> int:
        return 0 if self.shared else self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Experts:
    """Matrices of a layer's routed experts: `count` of `inputs` x `outputs`."""

    path: str
    count: int
    inputs: int
    outputs: int
    fused: bool = True
    """True if they are one tensor of three dimensions, and not modules of their own."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def weights(self) -> int:
        return self.count * self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer, in parameters."""

    linears: tuple[Linear, ...]
    others: int
    """Parameters outside matrices: norms, routers, convolutions, the biases of fused experts. A bias counts with its
    Linear."""
    norms: int
    """Elements a token that pass through its norms: 2 H in Llama, and the queries and keys too in Qwen3."""
    routed: tuple[Experts, ...] = ()
    used: int = 0
    """Routed experts that one token is sent to."""
    mixer: Mixer = "full"
    scan: int = 0
    """Elements a token that Mamba multiplies in one piece: chunk x heads x states (Mamba 1: width x states)."""

    @property
    def experts(self) -> int:
        """Weights of all routed experts."""
        return sum(each.weights for each in self.routed)

    @property
    def active_experts(self) -> int:
        """Weights of those that one token is sent to."""
        return sum(min(self.used, each.count) * each.inputs * each.outputs for each in self.routed)


@dataclass(frozen=True)
class Shape:
    """All parts of a model. Widths are in elements, sizes in parameters; a shared weight counts once, where it is
    first.

    Without slots, so that its sums can be cached: the budget asks for them at every keystroke.
    """

    model_type: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """True if the output head shares the input embedding's weights."""
    kinds: tuple[Layer, ...]
    """The distinct layers."""
    order: tuple[int, ...]
    """The index in `kinds` of each layer."""
    layers_path: str
    """The path of the list of layers: model.layers."""
    window: int | None
    """Tokens that a windowed layer looks back."""
    embedding: int
    head: int
    """The output head's own parameters: 0 where it is tied."""
    lookups: int
    """Further tables that are looked up by token: the per-layer embeddings of Gemma 3n and 4."""
    outside: tuple[Linear, ...]
    """Matrices of the text model outside the layers."""
    outside_others: int
    """Its other parameters outside the layers: the last norm, biases."""
    tower: int
    """Parameters of image and audio towers and of what joins them to the text model; 0 in a text model."""
    embedding_path: str = ""
    """The path of the table of words: model.embed_tokens."""
    positions: int | None = None
    """Tokens for which the model has a table of places: longer rows fail. None where places are computed, or no
    matter."""
    reserved: tuple[str, ...] = ()
    """Names of matrices that peft takes for experts: they get no adapter (core/worker/architecture/targets.py)."""
    name: str = ""
    """The model's name in sentences."""
    made_for: int | None = None
    """Tokens of the longest text that it was made for, where its config.json says it."""
    stored_as: str | None = None
    """Storage format of the repository's weights: nf4, fp4, int8, another method's name; None for 16 or 32 bits."""
    tower_work: float = 0.0
    """Elements of the image tower's activations for each value of an image's pixels: those of one layer for a patch."""
    file_bytes: int = 2
    """Bytes of a weight in the repository's files, as far as they are not quantized."""
    kept_16bit: int = 0
    """Weights of matrices that a quantized repository left in 16 bits (llm_int8_skip_modules)."""

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self.kinds[index] for index in self.order)

    @cached_property
    def placed(self) -> tuple[tuple[int, str, Linear], ...]:
        """Each matrix of the layers that can get an adapter: the index of its layer, its path in the model, and what it
        is."""
        return tuple(
            (index, self.path_of(index, linear), linear)
            for index, layer in enumerate(self.layers)
            for linear in layer.linears
            if linear.name not in self.reserved
        )

    @cached_property
    def matrices(self) -> tuple[tuple[Linear, int], ...]:
        """The text model's distinct matrices, with the number of layers that have each."""
        counts = Counter(linear for layer in self.layers for linear in layer.linears)
        counts.update(self.outside)
        return tuple(counts.items())

    @cached_property
    def linear_params(self) -> int:
        """Weights of these matrices, biases not counted."""
        return sum(linear.weights * times for linear, times in self.matrices)

    @cached_property
    def expert_params(self) -> int:
        return sum(layer.experts for layer in self.layers)

    @cached_property
    def small_params(self) -> int:
        """Norms, biases, routers, gates: parameters that are never quantized and no embeddings."""
        biases = sum(linear.outputs * times for linear, times in self.matrices if linear.bias)
        return biases + sum(layer.others for layer in self.layers) + self.outside_others

    @property
    def params(self) -> int:
        """All parameters, a tied head counted once: what the model card calls its size."""
        tables = self.embedding + self.head + self.lookups
        return self.linear_params + self.expert_params + tables + self.small_params + self.tower

    @cached_property
    def active_params(self) -> int:
        """Parameters of the layers and the head that one token is multiplied with."""
        experts = sum(layer.active_experts for layer in self.layers)
        return self.linear_params + experts + self.vocab * self.hidden

    @cached_property
    def windowed_layers(self) -> int:
        return sum(layer.mixer == "window" for layer in self.layers)

    @cached_property
    def keeps_rows_apart(self) -> bool:
        """True if rows may be packed: none of the layers carries anything over from a row to the one behind it."""
        return not any(layer.mixer in CARRIES_ON for layer in self.kinds)

    @property
    def queries(self) -> int:
        """Width of the queries: not always the hidden width (Gemma, Qwen3)."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_dim

    def path_of(self, index: int, linear: Linear | Experts) -> str:
        """The path in the model of a matrix of layer `index`."""
        return f"{self.layers_path}.{index}.{linear.path}" if self.layers_path else linear.path


def refuse_beyond_places(name: str, positions: int | None, length: int) -> None:
    """Raise UserError for rows of `length` tokens that a model with a table of `positions` places has none for."""
    if positions and length > positions:
        message = f"model.max_seq_length = {length}: {name} has places for {positions:,} tokens, and none behind them."
        raise UserError(message, f"Set it to {positions} or less.")


def is_named(path: str, names: Collection[str]) -> bool:
    """True if a module's path is one of the names, or ends with one: peft's reading of target_modules."""
    return any(path == name or path.endswith("." + name) for name in names)


def rank_of(path: str, rank: int, pattern: Mapping[str, int]) -> int:
    """The rank of the adapter of a module: the recipe's, or that of the first name in a pattern which its path ends
    with; peft's reading of rank_pattern (utils/other.py, get_pattern_key)."""
    if not pattern:
        return rank
    names = (name for name in pattern if re.fullmatch(rf"(.*\.)?({name})", path))
    return pattern.get(next(names, ""), rank)


def are_named_experts(path: str, names: Collection[str]) -> bool:
    """True if a recipe's target_modules name the experts at a path; gate_proj means gate_up_proj where they are
    fused."""
    fused = {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}
    wanted = {*names, *(fused[name] for name in names if name in fused)}
    return path.rpartition(".")[2] in wanted
