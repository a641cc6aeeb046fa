"""Compare a GGUF file's weights with the merged model's, tensor by tensor, with the `gguf` package, without llama.cpp.

The changes by llama.cpp's converter are repeated here: names, the row order for rotary embeddings, Gemma's norms, and
a layer's experts as one tensor.
"""

import json
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fitune.core.deliver import Proof
from fitune.core.worker.merging.parallel import run_in_order
from fitune.core.worker.merging.tensors import TensorLocation, locate_tensors, read

ROTATED = {"llama", "smollm3", "granite", "mistral3"}
"""Architectures whose query and key rows are stored in pairs, not in halves (LlamaModel.permute of the converter)."""
SHIFTED = {"gemma", "gemma2", "gemma3"}
"""Architectures whose norms are stored as weight + 1."""
KNOWN_ARCHITECTURES = ROTATED | SHIFTED | {"qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi3", "olmo2"}
"""Architectures whose every change is known here; for others only llama.cpp's answers are compared."""
BOUNDED_TYPES = {"F32", "F16", "BF16", "Q8_0"}
"""Types with bounded rounding, so that every weight can be checked; for others the whole matrix is checked."""
SMALLER_TYPES_SHARE = 0.2
"""Allowed error of smaller types, as root mean square of the matrix: SmolLM2-135M as q4_k_m has 0.02 to 0.05; a wrong
matrix has 1.4."""
NOT_STORED = re.compile(r"rotary_emb\.inv_freq$|vision|visual|multi_modal_projector|connector|audio")
"""Tensors that are no weights of a text model."""
GENERATED = re.compile(r"^rope_(freqs|factors)")
"""Tensors that the converter makes from config.json."""
CHUNK_WEIGHTS = 1 << 18
"""Weights compared at once: 1 MiB at fp32 stays in the processor's cache."""


def check_weights(proof: Proof, reader: Any, merged: Path) -> None:
    """Check that every tensor of the merged model is in the file, with its shape and no error but its type's rounding.

    reader: a gguf.GGUFReader. As many tensors at 16 bits are in memory as are compared at once.
    """
    config = json.loads((merged / "config.json").read_bytes())
    config |= config.get("text_config") or {}
    field = reader.get_field("general.architecture")
    arch = str(field.contents()) if field else ""
    if arch not in KNOWN_ARCHITECTURES:
        why = f"not checked: fitune does not know how llama.cpp stores {arch or 'it'}"
        return proof.add("weights", "those of the merged model", why, None)
    sources, unnamed = sources_of(locate_tensors(merged), arch, config)
    tensors = {tensor.name: tensor for tensor in reader.tensors if not GENERATED.match(tensor.name)}
    # A tied head shares the embedding's weights, and the converter leaves it out.
    if "output.weight" not in tensors and (arch in SHIFTED or config.get("tie_word_embeddings")):
        sources.pop("output.weight", None)
    wrong = sorted(sources.keys() ^ tensors.keys()) + unnamed
    wrong += [name for name in sources.keys() & tensors.keys() if not _alike(name, arch, sources[name], tensors[name])]
    got = f"{len(tensors)}, but {len(wrong)} wrong, such as {wrong[0]}" if wrong else str(len(tensors))
    proof.add("tensors", f"{len(sources)}, of the merged model's shapes", got, not wrong)
    if wrong:
        return None
    shares = run_in_order(
        partial(_worst, arch, name, sources[name], tensor, config) for name, tensor in tensors.items()
    )
    worst, name = max(zip(shares, tensors, strict=True))
    proof.numbers["rounding"] = worst
    got = f"{worst:.2g} of that at most" if worst <= 1 else f"{name} is {worst:.3g} times that off"
    return proof.add("weights", f"{len(tensors)} tensors, off by their type's rounding", got, worst <= 1)


def sources_of(
    locations: dict[str, TensorLocation], arch: str, config: dict[str, Any]
) -> tuple[dict[str, list[TensorLocation]], list[str]]:
    """The merged tensors by their names in the file, several for a layer's experts; and those without a name there."""
    import gguf

    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(number, int(config["num_hidden_layers"]))
    sources: dict[str, list[TensorLocation]] = {}
    unnamed = []
    for name in sorted(locations, key=_by_numbers):
        plain = re.sub(r"(language|text)_model\.", "", re.sub(r"\.experts\.\d+\.", ".experts.", name))
        stored = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if stored:
            sources.setdefault(stored, []).append(locations[name])
        elif not NOT_STORED.search(name):
            unnamed.append(name)
    return sources, unnamed


def _alike(name: str, arch: str, sources: list[TensorLocation], tensor: Any) -> bool:
    """True if the shapes are the same; Gemma 3's embedding loses the rows without a token."""
    shape = [len(sources), *sources[0].shape] if len(sources) > 1 else [*sources[0].shape]
    stored = [int(size) for size in reversed(tensor.shape)]
    if name == "token_embd.weight" and arch == "gemma3":
        return stored[1:] == shape[1:] and stored[0] <= shape[0]
    return stored == shape


def _worst(arch: str, name: str, sources: list[TensorLocation], tensor: Any, config: dict[str, Any]) -> float:
    """The error of a tensor as a share of its type's allowed rounding; infinite for NaN."""
    from gguf.quants import dequantize

    kind = tensor.tensor_type.name
    data = np.array(tensor.data, copy=None, ndmin=len(sources[0].shape) + 1)  # a plain view of the mapped file
    worst, off_squares, squares = 0.0, 0.0, 0.0
    for location, stored in zip(sources, data, strict=True):
        rows = stored.reshape(-1, stored.shape[-1])
        for start, expected in _chunks(_as_stored(arch, name, read(location), config), len(rows)):
            off = torch.tensor(dequantize(rows[start : start + len(expected)], tensor.tensor_type)) - expected
            if kind in BOUNDED_TYPES:
                share = off.abs_().div_(_allowed(expected, kind)).max()
                worst = max(worst, float(share.nan_to_num(nan=math.inf)))
            else:
                off_squares += float(off.square_().sum().nan_to_num(nan=math.inf))
                squares += float(expected.square().sum())
    return worst if kind in BOUNDED_TYPES else math.sqrt(off_squares / max(squares, 1e-30)) / SMALLER_TYPES_SHARE


def _as_stored(arch: str, name: str, tensor: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    """A tensor as the converter writes it."""
    if arch in SHIFTED and name.endswith("norm.weight"):
        return tensor.float() + 1
    match = re.search(r"\.attn_([qk])\.", name) if arch in ROTATED else None
    if match is None:
        return tensor
    queries = int(config["num_attention_heads"])
    heads = queries if match[1] == "q" else int(config.get("num_key_value_heads") or queries)
    return tensor.reshape(heads, 2, len(tensor) // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def _chunks(tensor: torch.Tensor, rows: int) -> Iterator[tuple[int, torch.Tensor]]:
    """The first rows of a tensor as fp32 matrices of some rows each, with the index of the first row."""
    matrix = tensor.reshape(-1, tensor.shape[-1])[:rows]
    step = max(1, CHUNK_WEIGHTS // matrix.shape[1])
    for start in range(0, len(matrix), step):
        yield start, matrix[start : start + step].float()


def _allowed(expected: torch.Tensor, kind: str) -> torch.Tensor:
    """The largest error of each weight by rounding to a type.

    Half a unit in the last place: 11 bits of f16, above its smallest steps of 2^-24, and 8 of bf16. Q8_0 keeps 32
    weights as steps of their largest / 127, a number that is itself rounded to f16 (ggml's quantize_row_q8_0).
    """
    match kind:
        case "Q8_0":
            step = expected.view(-1, 32).abs().amax(dim=1, keepdim=True) / 127
            return (step * (0.5 + 127 * 2**-11) + 127 * 2**-25).expand(-1, 32).reshape(expected.shape)
        case "F16":
            return expected.abs() * 2**-11 + 2**-25
        case "BF16":
            return expected.abs() * 2**-8 + 2**-126
    return torch.full_like(expected, 2**-126)  # F32 holds every number that a model has


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """A sort key that puts experts.10 after experts.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]
