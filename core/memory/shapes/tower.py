"""The size of what an image tower computes, from the numbers of a config.json."""

from collections.abc import Mapping

WIDTHS, MLPS = 6, 3
"""Tensors of the tower's width, and of its MLP's, that exist at once in a layer's pass without gradients: the input,
its norm, queries, keys, values and the result; what the MLP multiplies."""
CHANNELS = 3


def tower_work(config: Mapping[str, object]) -> float:
    """Elements of one layer's activations for each value of an image's pixels; 0 where the config tells no sizes."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return 0.0
    width, mlp = (_number(vision, *names) for names in (("hidden_size", "embed_dim"), ("intermediate_size",)))
    patch, frames = _number(vision, "patch_size"), _number(vision, "temporal_patch_size") or 1
    if not (width and patch):
        return 0.0
    return (WIDTHS * width + MLPS * (mlp or 4 * width)) / (CHANNELS * patch * patch * frames)


def _number(values: Mapping[str, object], *names: str) -> int:
    found = (values.get(name) for name in names)
    return next((each for each in found if isinstance(each, int) and not isinstance(each, bool) and each > 0), 0)
