"""The shape of a model from its config.json: dimensions and exact parameter counts, without loading a weight.

A file that fitune does not understand raises UserError: a guessed size would look like a promise.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.memory import config_json
from fitune.core.memory.architectures import (
    FAMILIES,
    ConfigReader,
    Family,
    Layer,
    Linear,
    decoder_layer,
    heads_of,
    vision_params,
)

VISION_TEXT = {
    "gemma3": "gemma3_text",
    "mllama": "mllama_text_model",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
}
"""Vision-language architectures, and the architecture of their text half."""
MAX_LAYERS = 1024
MAX_PARAMS = 10**13
"""Upper bound of parameters: no open model comes near it, so a file with more is broken."""


@dataclass(frozen=True)
class Shape:
    """A model's dimensions and parts. Widths are in elements, counts in parameters.

    Without slots, so that its sums can be cached: the budget asks for them at every keystroke.
    """

    name: str
    model_type: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Width of the MLP; of one token's active experts together in a mixture of experts."""
    vocab: int
    tied: bool
    """True if the output head shares the input embedding's weights."""
    layers: tuple[Layer, ...]
    vision: int
    """Parameters of the image tower and its bridge; 0 in a text model."""
    embedding_rows: int
    window: int | None
    """Tokens a windowed layer looks back, and how many layers are windowed."""
    windowed_layers: int
    stored_as: str | None
    """Storage format of the repository's weights: nf4, fp4, int8, another method's name; None for 16 or 32 bits."""
    kept_16bit: int
    """Weights of layer matrices that a quantized repository left in 16 bits (llm_int8_skip_modules)."""

    @property
    def queries(self) -> int:
        """Width of the queries: not always the hidden width (Gemma, Qwen3)."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_dim

    @cached_property
    def matrices(self) -> tuple[tuple[Linear, int], ...]:
        """The layers' distinct matrices, with the number of layers that have each."""
        return tuple(Counter(linear for layer in self.layers for linear in layer.linears).items())

    @cached_property
    def linear_params(self) -> int:
        """Weights of the layers' matrices, biases not counted."""
        return sum(linear.weights * times for linear, times in self.matrices)

    @cached_property
    def expert_params(self) -> int:
        return sum(layer.experts for layer in self.layers)

    @property
    def embedding_params(self) -> int:
        return self.embedding_rows * self.hidden

    @property
    def head_params(self) -> int:
        """The output head's own parameters: 0 where it shares the embedding's."""
        return 0 if self.tied else self.vocab * self.hidden

    @cached_property
    def small_params(self) -> int:
        """Norms, biases, routers, gates: parameters that are never quantized and no embeddings."""
        biases = sum(linear.outputs * times for linear, times in self.matrices if linear.bias)
        return biases + sum(layer.others for layer in self.layers) + self.hidden

    @property
    def params(self) -> int:
        """All parameters, a tied head counted once: what the model card calls its size."""
        text = self.linear_params + self.expert_params + self.embedding_params + self.head_params + self.small_params
        return text + self.vision

    @property
    def active_params(self) -> int:
        """Parameters of the layers and the head that one token is multiplied with."""
        experts = sum(layer.active_experts for layer in self.layers)
        return self.linear_params + experts + self.vocab * self.hidden


def from_config(config: object, source: str) -> Shape:
    """The shape that a parsed config.json describes. `source` names it in errors.

    Raises UserError for an unknown architecture, BadInput with all missing or impossible values.
    """
    if not isinstance(config, Mapping):
        raise UserError(f"{source} is not a model's config.json: it holds no JSON object.", "Give the model's folder.")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or (model_type not in FAMILIES and model_type not in VISION_TEXT):
        raise _unknown(model_type, source)
    text_type = VISION_TEXT.get(model_type, model_type)
    family = FAMILIES[text_type]
    text = ConfigReader(_text_tree(config, model_type), source, family.defaults)
    if (count := text.integer("num_hidden_layers")) > MAX_LAYERS:
        text.problems.append(Problem(f"{source}: num_hidden_layers", f"is {count:,}; the most known is {MAX_LAYERS}."))
        count = 1
    layers = _layers(text, family, count)
    hidden, heads, kv_heads, head_dim = heads_of(text)
    vocab, vision = text.integer("vocab_size"), 0
    if model_type in VISION_TEXT:
        tower = ConfigReader(_tree(config, "vision_config"), f"{source}: vision_config")
        vision = vision_params(model_type, tower, hidden)
        text.problems += tower.problems
    window, windowed = _windows(text, text_type, count)
    tied = _tied(config, text, family)
    stored_as, kept = _stored(config, source, layers, text.problems)
    if text.problems:
        raise BadInput(list(dict.fromkeys(text.problems)))
    shape = Shape(
        name=_name(source), model_type=model_type, hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        intermediate=_mlp_width(text, family), vocab=vocab, tied=tied, layers=layers, vision=vision,
        embedding_rows=vocab + (8 if model_type == "mllama" else 0),
        window=window, windowed_layers=windowed, stored_as=stored_as, kept_16bit=kept,
    )  # fmt: skip
    if shape.params > MAX_PARAMS:
        message = f"{source} describes a model of {shape.params:.1e} parameters, more than any has."
        raise UserError(message, "Download the model's config.json again.")
    return shape


def load(model_id: str, revision: str | None = None) -> Shape:
    """The shape of a local folder, a config.json, a model of the shipped table, or a Hub repository.

    Only the last needs the network, for one small file. Raises UserError with a hint when there is none.
    """
    return from_config(*config_json.load_config(model_id, revision))


def _unknown(model_type: object, source: str) -> UserError:
    known = ", ".join([*(name for name in FAMILIES if "_text" not in name), *VISION_TEXT])
    problem = (
        f"has the unknown model_type {model_type[:60]!r}" if isinstance(model_type, str) else "names no model_type"
    )
    return UserError(f"{source} {problem}: its size can't be counted.", f"Known: {known}.")


def _name(source: str) -> str:
    parts = [part for part in source.split("/") if part and part != "config.json"]
    return parts[-1] if parts else source


def _tree(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    tree = config.get(key)
    return tree if isinstance(tree, Mapping) else {}


def _text_tree(config: Mapping[str, Any], model_type: str) -> Mapping[str, Any]:
    """Values of the text model: nested in text_config, or flat as Qwen2-VL's first repositories have them."""
    return _tree(config, "text_config") or config if model_type in VISION_TEXT else config


def _tied(config: Mapping[str, Any], text: ConfigReader, family: Family) -> bool:
    default = bool((family.defaults or {}).get("tie_word_embeddings", False))
    outer = config.get("tie_word_embeddings")
    return outer if isinstance(outer, bool) else text.flag("tie_word_embeddings", default)


def _layers(text: ConfigReader, family: Family, count: int) -> tuple[Layer, ...]:
    built = [decoder_layer(text, family, index) for index in range(count)]
    unique: dict[Layer, Layer] = {}
    return tuple(unique.setdefault(layer, layer) for layer in built)


def _mlp_width(text: ConfigReader, family: Family) -> int:
    if family.mlp == "dense":
        return text.integer("intermediate_size")
    expert_width = text.integer("moe_intermediate_size" if family.mlp == "qwen3_moe" else "intermediate_size")
    return expert_width * text.integer("num_experts_per_tok")


def _windows(text: ConfigReader, text_type: str, count: int) -> tuple[int | None, int]:
    """Sliding window in tokens and the number of layers that have it, as transformers' config classes derive them."""
    window = text.tree.get("sliding_window")
    if type(window) is not int or window < 1:
        return None, 0
    kinds = text.tree.get("layer_types")
    if isinstance(kinds, list):
        return window, kinds.count("sliding_attention")
    if text_type.startswith("qwen"):
        if text.tree.get("use_sliding_window") is not True:
            return None, 0
        return window, max(0, count - text.integer("max_window_layers", count, low=0))
    period = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2, "olmo3": 4}.get(text_type)
    return window, count - count // period if period else count


def _stored(
    config: Mapping[str, Any], source: str, layers: tuple[Layer, ...], problems: list[Problem]
) -> tuple[str | None, int]:
    """Storage format of the repository's weights, and the number of layer weights it kept in 16 bits."""
    if "quantization_config" not in config or config["quantization_config"] is None:
        return None, 0
    quantized = _tree(config, "quantization_config")
    method = quantized.get("quant_method")
    if method != "bitsandbytes":
        return str(method or "unknown")[:40], 0
    skips = quantized.get("llm_int8_skip_modules") or []
    if not isinstance(skips, list) or not all(isinstance(skip, str) for skip in skips):
        problems.append(Problem(f"{source}: llm_int8_skip_modules", "must be a list of module names."))
        return None, 0
    four = quantized.get("load_in_4bit", quantized.get("_load_in_4bit", False)) is True
    kind = ("fp4" if quantized.get("bnb_4bit_quant_type") == "fp4" else "nf4") if four else "int8"
    kept = sum(
        linear.weights
        for index, layer in enumerate(layers)
        for linear in layer.linears
        if _is_skipped(index, linear.name, frozenset(skips))
    )
    return kind, kept


def _is_skipped(index: int, name: str, skips: frozenset[str]) -> bool:
    """True if a skip list names this matrix: by its own name, by its full path, or by a module above it."""
    part = "self_attn" if name in ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj") else "mlp"
    tails = (f"layers.{index}", f"layers.{index}.{part}", f"layers.{index}.{part}.{name}")
    return name in skips or any(skip == tail or skip.endswith("." + tail) for skip in skips for tail in tails)
