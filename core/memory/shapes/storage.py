"""How a repository stores its weights, by its config.json: in 16 bits, or quantized by which method."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.memory.shapes.shape import Shape

KEYS = ("quantization_config", "compression_config", "quantization")
"""Where configs say it: transformers, llm-compressor, MLX."""
ORIGINAL_HINT = "Use the original 16-bit repository: fitune quantizes it while loading."
BITSANDBYTES = {"nf4", "fp4", "int8"}
GPT_OSS = {24: "unsloth/gpt-oss-20b", 36: "unsloth/gpt-oss-120b"}
"""Beginnings of the names of copies of gpt-oss by its number of layers; the original has its experts in mxfp4."""


def stored(config: Mapping[str, Any], shape: Shape, source: str) -> tuple[str | None, int]:
    """Storage format of the repository's weights, and the number of matrix weights that it keeps in 16 bits.

    Raises BadInput for a skip list that is none.
    """
    quantized = quantization_of(config)
    if quantized is None:
        return None, 0
    four = quantized.get("load_in_4bit", quantized.get("_load_in_4bit", False)) is True
    method = quantized.get("quant_method")
    if method is None and (four or quantized.get("load_in_8bit") is True):  # as the first of these were written
        method = "bitsandbytes"
    if method != "bitsandbytes":
        fallback = "mlx" if "group_size" in quantized and method is None else "unknown"
        return str(method or fallback)[:40], 0
    skips = quantized.get("llm_int8_skip_modules") or []
    where = f"{source}: llm_int8_skip_modules"
    if not isinstance(skips, list) or not all(isinstance(skip, str) for skip in skips):
        raise BadInput([Problem(where, "must be a list of module names.")])
    kind = ("fp4" if quantized.get("bnb_4bit_quant_type") == "fp4" else "nf4") if four else "int8"
    try:
        return kind, sum(weights for path, weights in _packed(shape) if _is_skipped(path, skips))
    except re.error as error:
        raise BadInput([Problem(where, f"holds a pattern that is none: {error}.")]) from None


def bytes_of_a_weight(config: Mapping[str, Any]) -> int:
    """Bytes of a weight in a repository's files, where it is not quantized: 4 if its config.json says float32."""
    nested = config.get("text_config")
    for tree in (config, nested if isinstance(nested, Mapping) else {}):
        if isinstance(dtype := tree.get("dtype", tree.get("torch_dtype")), str):
            return 4 if dtype.removeprefix("torch.") == "float32" else 2
    return 2


def quantization_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a config says of quantization, for the whole model or for its text part; an empty value counts. None if it
    says nothing."""
    nested = config.get("text_config")
    for tree in (config, nested if isinstance(nested, Mapping) else {}):
        for key in KEYS:
            if (value := tree.get(key)) is not None:
                return value if isinstance(value, Mapping) else {}
    return None


def _packed(shape: Shape) -> Iterator[tuple[str, int]]:
    for index, layer in enumerate(shape.layers):
        for linear in layer.linears:
            if linear.packed:
                yield shape.path_of(index, linear), linear.weights
    yield from ((linear.path, linear.weights) for linear in shape.outside if linear.packed)


def _is_skipped(path: str, skips: list[str]) -> bool:
    """True if a skip list names a matrix, as transformers reads it (quantizers_utils.py, should_convert_module): by its
    beginning, as a regular expression, or by its end; or as those before version 5 read it, which made most of these
    repositories: by a module that it is in (Unsloth's gpt-oss-20b in 4 bits says self_attn). Repositories of models
    with an image tower may say language_model.model for model.language_model."""
    paths = (path, path.replace("model.language_model.", "language_model.model.", 1))
    return any(
        re.match(skip, each) or each.endswith(skip) or f".{skip}." in f".{each}." for skip in skips for each in paths
    )


def refuse_untrainable(shape: Shape) -> None:
    """Raise UserError if the stored format can't be trained; it names the repository to take instead."""
    kind = shape.stored_as
    if kind is None or kind in BITSANDBYTES:
        return
    if kind == "mxfp4":
        copy = GPT_OSS.get(len(shape.layers)) if shape.model_type == "gpt_oss" else None
        hint = "Take the same model in 16 bits: a repository with BF16 in its name."
        if copy:
            hint = f"Take {copy}-unsloth-bnb-4bit, the same model in 4 bits for Unsloth, or in 16 bits {copy}-BF16."
    elif kind == "fp8":
        hint = "Take the same model in 16 bits: often the name with -BF16 at its end, or without -FP8."
    else:
        hint = ORIGINAL_HINT
    raise UserError(f"{shape.name} is stored in the format {kind}, which can't be trained here.", hint)
