"""GGUF files of a tiny merged model, written as llama.cpp's converter writes them, and each damage one can have."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import safe_open

HEADS = {"attn_q": 4, "attn_k": 2}
"""Of the tiny model: query and key heads."""
TensorChange = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes the tensors, and what the file says of itself."""


def write_gguf(file: Path, merged: Path, kind: str, change: TensorChange | None = None) -> None:
    """Write the two-layer Llama of the tests as a file of a kind; `change` damages it first."""
    tensors = as_llama_cpp(merged)
    told = {
        "type": gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"],
        "template": (merged / "chat_template.jinja").read_text(),
        "eos": 2,
        "arch": "llama",
        "tokens": tokens_of(merged),
    }
    if change:
        change(tensors, told)
    writer = gguf.GGUFWriter(file, told["arch"])
    writer.add_file_type(told["type"])
    if told["template"] is not None:
        writer.add_chat_template(told["template"])
    if told["eos"] is not None:
        writer.add_eos_token_id(told["eos"])
    writer.add_token_list(told["tokens"])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(told["tokens"]))
    matrices = gguf.GGMLQuantizationType[kind.upper()]
    for name, weights in tensors.items():
        stored = matrices if weights.ndim > 1 and weights.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(weights, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokens_of(merged: Path) -> list[str]:
    """The tokens by their numbers."""
    vocabulary = json.loads((merged / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.__getitem__)


def as_llama_cpp(merged: Path) -> dict[str, Any]:
    """A Llama's weights at fp32 by llama.cpp's names, query and key rows in pairs."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    found = {}
    with safe_open(merged / "model.safetensors", "np") as stored:
        for name in stored.keys():  # noqa: SIM118  it is no dict
            found[names.get_name(name, try_suffixes=(".weight",))] = stored.get_tensor(name)
    for name, weights in found.items():
        if heads := next((HEADS[part] for part in HEADS if f".{part}." in name), None):
            halves = weights.reshape(heads, 2, len(weights) // heads // 2, -1)
            found[name] = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))
    return found
