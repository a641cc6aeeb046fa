"""The matrices and parameter counts of each known architecture's decoder layer and image tower, from its config.json.

Names are the modules' own (`q_proj`, `qkv_proj`), since recipes choose LoRA targets by them. Sources: the modeling_*.py
files of transformers 5.17; tests/core/memory/test_shapes.py compares the counts with the real classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitune.core.errors import Problem

LARGEST = 2**27
"""Upper bound of widths, vocabularies and counts: no real model comes near it, so a larger value is a broken file."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A weight matrix of `inputs` x `outputs`. LoRA and 4-bit storage apply to these."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer, in parameters.

    `others` counts parameters outside matrices: norms, gates, routers, attention sinks (a bias counts with its Linear).
    `experts` counts the fused experts, `active_experts` those of them that one token is sent to.
    """

    linears: tuple[Linear, ...]
    others: int
    experts: int = 0
    active_experts: int = 0


@dataclass(frozen=True, slots=True)
class Family:
    """The differences of an architecture from Llama. `defaults`: values that its transformers config class fills in."""

    norms: int = 2
    """Norm vectors of hidden width a layer."""
    qk_norm: str = ""
    """Norms of queries and keys: "head" has one vector a head width, "full" one over all heads."""
    qkv_bias: bool | None = None
    """Fixed by the architecture, or None: the config's attention_bias, which then holds for o_proj too."""
    mlp_bias: bool = False
    """True if the config may ask for biases in the MLP."""
    fused: bool = False
    """q, k, v in one matrix, gate and up in one."""
    mlp: str = "dense"
    """dense, mixtral, qwen3_moe or gpt_oss."""
    defaults: Mapping[str, Any] | None = None


_GEMMA = {"tie_word_embeddings": True, "head_dim": 256}
FAMILIES: Mapping[str, Family] = {
    "llama": Family(mlp_bias=True),
    "mistral": Family(qkv_bias=False, defaults={"num_key_value_heads": 8}),
    "qwen2": Family(qkv_bias=True, defaults={"num_key_value_heads": 32}),
    "qwen3": Family(qk_norm="head", defaults={"num_key_value_heads": 32, "head_dim": 128}),
    "gemma": Family(defaults=_GEMMA | {"num_key_value_heads": 16}),
    "gemma2": Family(norms=4, defaults=_GEMMA | {"num_key_value_heads": 4}),
    "gemma3_text": Family(
        norms=4,
        qk_norm="head",
        defaults=_GEMMA | {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262_208},
    ),
    "phi3": Family(qkv_bias=False, fused=True),
    "smollm3": Family(mlp_bias=True, defaults={"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "granite": Family(mlp_bias=True),
    "olmo2": Family(qk_norm="full"),
    "olmo3": Family(qk_norm="full"),
    "mixtral": Family(qkv_bias=False, mlp="mixtral", defaults={"num_key_value_heads": 8}),
    "qwen3_moe": Family(qk_norm="head", mlp="qwen3_moe", defaults={"num_key_value_heads": 4}),
    "gpt_oss": Family(mlp="gpt_oss", defaults={"attention_bias": True, "head_dim": 64, "num_key_value_heads": 8}),
    "mllama_text_model": Family(
        qkv_bias=False,
        defaults={"num_key_value_heads": 8, "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38]},
    ),
    "qwen2_vl_text": Family(qkv_bias=True, defaults={"num_key_value_heads": 8}),
    "qwen2_5_vl_text": Family(qkv_bias=True, defaults={"num_key_value_heads": 8}),
}
"""Known architectures by `model_type`. Each one's counts agree exactly with transformers' own classes."""


class ConfigReader:
    """Reads typed values from a config.json. It collects every problem and raises nothing.

    As in transformers, a default is used for a missing key; null means the value that the architecture derives.
    """

    def __init__(self, tree: Mapping[str, Any], where: str, defaults: Mapping[str, Any] | None = None) -> None:
        self.tree = {key: value for key, value in {**(defaults or {}), **tree}.items() if value is not None}
        self.where = where
        self.problems: list[Problem] = []

    def integer(self, key: str, default: int | None = None, low: int = 1) -> int:
        value = self.tree.get(key, default)
        if value is None:
            self.wrong(key, "is missing.", "Without it the model's size can't be known.")
        elif isinstance(value, bool) or not isinstance(value, int):
            self.wrong(key, f"must be a whole number, but is {_short(value)}.")
        elif not low <= value <= LARGEST:
            self.wrong(key, f"must be between {low} and {LARGEST:,}, but is {_short(value)}.")
        else:
            return value
        return low or 1

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.tree.get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"must be true or false, but is {_short(value)}.")
            return default
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        value = self.tree.get(key, [])
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            self.wrong(key, f"must be a list of whole numbers, but is {_short(value)}.")
            return ()
        return tuple(value)

    def wrong(self, key: str, text: str, fix: str = "") -> None:
        self.problems.append(Problem(f"{self.where}: {key}", text, fix))


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def attention(config: ConfigReader, family: Family) -> tuple[tuple[Linear, ...], int]:
    """The attention's matrices, and the number of its other parameters (q/k norms, sinks)."""
    hidden, heads, kv_heads, head_dim = heads_of(config)
    query_width, key_width = heads * head_dim, kv_heads * head_dim
    attention_bias = config.flag("attention_bias") if family.qkv_bias is None else False
    bias = attention_bias if family.qkv_bias is None else family.qkv_bias
    norms = {"": 0, "head": 2 * head_dim, "full": query_width + key_width}[family.qk_norm]
    out = Linear("o_proj", query_width, hidden, attention_bias)
    if family.fused:
        return (Linear("qkv_proj", hidden, query_width + 2 * key_width, bias), out), norms
    sinks = heads if family.mlp == "gpt_oss" else 0
    queries = Linear("q_proj", hidden, query_width, bias)
    return (
        queries,
        Linear("k_proj", hidden, key_width, bias),
        Linear("v_proj", hidden, key_width, bias),
        out,
    ), norms + sinks


def heads_of(config: ConfigReader) -> tuple[int, int, int, int]:
    """Hidden width, heads, key/value heads and head width; adds a problem for values that contradict each other."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        config.wrong("num_key_value_heads", f"is {kv_heads}, which does not divide the {heads} attention heads.")
    if "head_dim" not in config.tree and hidden % heads:
        config.wrong("hidden_size", f"is {hidden}, which is no multiple of the {heads} attention heads.")
    return hidden, heads, kv_heads, config.integer("head_dim", max(1, hidden // heads))


def mlp(config: ConfigReader, family: Family, index: int) -> Layer:
    """The feed-forward part of layer `index`, as a Layer without norms."""
    hidden = config.integer("hidden_size")
    if family.mlp == "dense" or (family.mlp == "qwen3_moe" and _is_dense(config, index)):
        width = config.integer("intermediate_size")
        bias = config.flag("mlp_bias") if family.mlp_bias else False
        down = Linear("down_proj", width, hidden, bias)
        if family.fused:
            return Layer((Linear("gate_up_proj", hidden, 2 * width), down), 0)
        return Layer((Linear("gate_proj", hidden, width, bias), Linear("up_proj", hidden, width, bias), down), 0)
    count = config.integer("num_experts" if family.mlp == "qwen3_moe" else "num_local_experts")
    width = config.integer("moe_intermediate_size" if family.mlp == "qwen3_moe" else "intermediate_size")
    active = config.integer("num_experts_per_tok")
    biases = 2 * width + hidden if family.mlp == "gpt_oss" else 0
    router = count * hidden + (count if family.mlp == "gpt_oss" else 0)
    expert = 3 * hidden * width + biases
    return Layer((), router, count * expert, min(active, count) * expert)


def _is_dense(config: ConfigReader, index: int) -> bool:
    return index in config.integers("mlp_only_layers") or (index + 1) % config.integer("decoder_sparse_step", 1) != 0


def decoder_layer(config: ConfigReader, family: Family, index: int) -> Layer:
    """Layer `index`. Cross-attention layers (Llama 3.2 Vision) have q/k norms and two gates more."""
    projections, others = attention(config, family)
    feed = mlp(config, family, index)
    if index in config.integers("cross_attention_layers"):
        others += 2 * heads_of(config)[3] + 2
    others += family.norms * config.integer("hidden_size") + feed.others
    return Layer(projections + feed.linears, others, feed.experts, feed.active_experts)


def vision_params(model_type: str, config: ConfigReader, hidden: int) -> int:
    """Parameters of tower and bridge. `config` is the vision_config, `hidden` the text model's width."""
    return {
        "gemma3": _siglip_params,
        "mllama": _mllama_params,
        "qwen2_vl": _qwen2_vision_params,
        "qwen2_5_vl": _qwen2_5_vision_params,
    }[model_type](config, hidden)


def _vision_block(width: int, wide: int, bias: bool = True) -> int:
    """An encoder layer: four square projections, two MLP matrices with biases, two LayerNorms."""
    attention = 4 * width * width + (4 * width if bias else 0)
    return attention + 2 * width * wide + wide + width + 4 * width


def _siglip_params(config: ConfigReader, hidden: int) -> int:
    width, layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    patch = config.integer("patch_size")
    patches = (config.integer("image_size") // patch) ** 2
    embed = config.integer("num_channels", 3) * patch * patch * width + width + patches * width
    block = _vision_block(width, config.integer("intermediate_size"))
    # The pooling head is a block with one LayerNorm and a probe vector; Gemma's repositories switch it off.
    pooling = block - width if config.flag("vision_use_head", default=True) else 0
    bridge = width + width * hidden
    return embed + layers * block + 2 * width + pooling + bridge


def _mllama_params(config: ConfigReader, hidden: int) -> int:
    width, patch, tiles = config.integer("hidden_size"), config.integer("patch_size"), config.integer("max_num_tiles")
    ratios = config.tree.get("supported_aspect_ratios")
    rows = (len(ratios) if isinstance(ratios, list) else 8) + 1
    patches = (config.integer("image_size") // patch) ** 2 + 1
    tile_embeddings = 2 * (rows * tiles * width + 1)
    positions = 1 + patches * width + rows * tiles * patches * width
    patch_params = config.integer("num_channels", 3) * patch * patch * width + width
    block = _vision_block(width, config.integer("intermediate_size"), bias=False)
    gated = config.integer("num_global_layers") * (block + 2)
    plain = config.integer("num_hidden_layers") * block
    bridge = config.integer("vision_output_dim") * hidden + hidden
    return patch_params + positions + tile_embeddings + 4 * width + plain + gated + bridge


def _qwen_patches(config: ConfigReader, width: int) -> int:
    channels = config.integer("in_channels", config.tree.get("in_chans", 3))
    return channels * config.integer("temporal_patch_size", 2) * config.integer("patch_size") ** 2 * width


def _qwen_merger(config: ConfigReader, width: int, out: int, norm: int) -> int:
    merged = width * config.integer("spatial_merge_size", 2) ** 2
    return norm + merged * merged + merged + merged * out + out


def _qwen2_vision_params(config: ConfigReader, hidden: int) -> int:
    width = config.integer("embed_dim")
    block = _vision_block(width, width * config.integer("mlp_ratio", 4))
    layers = config.integer("depth") * block
    return _qwen_patches(config, width) + layers + _qwen_merger(config, width, hidden, 2 * width)


def _qwen2_5_vision_params(config: ConfigReader, hidden: int) -> int:
    width, wide = config.integer("hidden_size"), config.integer("intermediate_size")
    block = 4 * width * width + 4 * width + 3 * width * wide + 2 * wide + width + 2 * width
    return _qwen_patches(config, width) + config.integer("depth") * block + _qwen_merger(config, width, hidden, width)
