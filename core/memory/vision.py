"""Parameter counts of the image side of a vision-language model: its tower and the bridge to the text model.

Sources: the modeling_*.py files of transformers 5.17, checked against them on the meta device.
"""

from fitune.core.memory.architectures import ConfigReader


def vision_params(model_type: str, config: ConfigReader, hidden: int) -> int:
    """Parameters of tower and bridge. `config` is the vision_config, `hidden` the text model's width."""
    return {"gemma3": _siglip, "mllama": _mllama, "qwen2_vl": _qwen2, "qwen2_5_vl": _qwen2_5}[model_type](
        config, hidden
    )


def _block(width: int, wide: int, bias: bool = True) -> int:
    """An encoder layer: four square projections, two MLP matrices with biases, two LayerNorms."""
    attention = 4 * width * width + (4 * width if bias else 0)
    return attention + 2 * width * wide + wide + width + 4 * width


def _siglip(config: ConfigReader, hidden: int) -> int:
    width, layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    patch = config.integer("patch_size")
    patches = (config.integer("image_size") // patch) ** 2
    embed = config.integer("num_channels", 3) * patch * patch * width + width + patches * width
    block = _block(width, config.integer("intermediate_size"))
    # The pooling head is a block with one LayerNorm and a probe vector; Gemma's repositories switch it off.
    pooling = block - width if config.flag("vision_use_head", default=True) else 0
    bridge = width + width * hidden
    return embed + layers * block + 2 * width + pooling + bridge


def _mllama(config: ConfigReader, hidden: int) -> int:
    width, patch, tiles = config.integer("hidden_size"), config.integer("patch_size"), config.integer("max_num_tiles")
    ratios = config.tree.get("supported_aspect_ratios")
    rows = (len(ratios) if isinstance(ratios, list) else 8) + 1
    patches = (config.integer("image_size") // patch) ** 2 + 1
    tile_embeddings = 2 * (rows * tiles * width + 1)
    positions = 1 + patches * width + rows * tiles * patches * width
    patch_params = config.integer("num_channels", 3) * patch * patch * width + width
    block = _block(width, config.integer("intermediate_size"), bias=False)
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


def _qwen2(config: ConfigReader, hidden: int) -> int:
    width = config.integer("embed_dim")
    block = _block(width, width * config.integer("mlp_ratio", 4))
    layers = config.integer("depth") * block
    return _qwen_patches(config, width) + layers + _qwen_merger(config, width, hidden, 2 * width)


def _qwen2_5(config: ConfigReader, hidden: int) -> int:
    width, wide = config.integer("hidden_size"), config.integer("intermediate_size")
    block = 4 * width * width + 4 * width + 3 * width * wide + 2 * wide + width + 2 * width
    return _qwen_patches(config, width) + config.integer("depth") * block + _qwen_merger(config, width, hidden, width)
