"""A GGUF file's weights beside the merged model's, tensor by tensor, by the `gguf` package: no llama.cpp is needed.

What llama.cpp's converter changes on the way is done here once more: names, the order of the rows that rotary
embedding wants, Gemma's norms, and a layer's experts as one tensor.
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
from fitune.core.worker.merging.overlap import in_order
from fitune.core.worker.merging.tensors import Slot, read, slots_in

ROTATED = {"llama", "smollm3", "granite", "mistral3"}
"""Their query and key rows come in pairs, not in halves (LlamaModel.permute of the converter)."""
SHIFTED = {"gemma", "gemma2", "gemma3"}
"""Their norms are kept as weight + 1."""
KNOWN = ROTATED | SHIFTED | {"qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi3", "olmo2"}
"""Architectures whose every change is known here; others may change more, and are left to llama.cpp's own answers."""
EXACT = {"F32", "F16", "BF16", "Q8_0"}
"""Types whose rounding is bounded, so that every weight can be judged; others are judged by their matrix."""
SMALLER_TYPES_SHARE = 0.2
"""What smaller types may lose of a matrix, as root mean square: 0.02 to 0.05 of SmolLM2-135M's as q4_k_m; another
matrix in its place is 1.4 away."""
NOT_STORED = re.compile(r"rotary_emb\.inv_freq$|vision|visual|multi_modal_projector|audio")
"""Neither is a text model's weight."""
MADE = re.compile(r"^rope_(freqs|factors)")
"""What the converter makes of config.json."""
CHUNK_WEIGHTS = 1 << 18
"""Compared at once: 1 MiB at fp32 stays in the processor's cache."""


def check_weights(proof: Proof, reader: Any, merged: Path) -> None:
    """Every tensor of the merged model is in the file, in its shape, rounded as its type rounds and no more.

    reader: a gguf.GGUFReader. Memory holds as many tensors at 16 bits as are worked on at once.
    """
    config = json.loads((merged / "config.json").read_bytes())
    config |= config.get("text_config") or {}
    field = reader.get_field("general.architecture")
    arch = str(field.contents()) if field else ""
    if arch not in KNOWN:
        why = f"not checked: fitune does not know how llama.cpp stores {arch or 'it'}"
        return proof.add("weights", "those of the merged model", why, None)
    sources, homeless = sources_of(slots_in(merged), arch, config)
    found = {tensor.name: tensor for tensor in reader.tensors if not MADE.match(tensor.name)}
    # A tied head is the embedding once more, and the converter leaves it out.
    if "output.weight" not in found and (arch in SHIFTED or config.get("tie_word_embeddings")):
        sources.pop("output.weight", None)
    wrong = sorted(sources.keys() ^ found.keys()) + homeless
    wrong += [name for name in sources.keys() & found.keys() if not _alike(name, arch, sources[name], found[name])]
    said = f"{len(found)}, but {len(wrong)} wrong, such as {wrong[0]}" if wrong else str(len(found))
    proof.add("tensors", f"{len(sources)}, of the merged model's shapes", said, not wrong)
    if wrong:
        return None
    shares = in_order(partial(_worst, arch, name, sources[name], tensor, config) for name, tensor in found.items())
    worst, name = max(zip(shares, found, strict=True))
    proof.numbers["rounding"] = worst
    got = f"{worst:.2g} of that at most" if worst <= 1 else f"{name} is {worst:.3g} times that off"
    return proof.add("weights", f"{len(found)} tensors, off by their type's rounding", got, worst <= 1)


def sources_of(slots: dict[str, Slot], arch: str, config: dict[str, Any]) -> tuple[dict[str, list[Slot]], list[str]]:
    """The merged tensors by the file's names for them, several for a layer's experts; and those it has no name for."""
    import gguf

    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(number, int(config["num_hidden_layers"]))
    sources: dict[str, list[Slot]] = {}
    homeless = []
    for name in sorted(slots, key=_by_numbers):
        plain = re.sub(r"\.experts\.\d+\.", ".experts.", name).replace("language_model.", "")
        stored = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if stored:
            sources.setdefault(stored, []).append(slots[name])
        elif not NOT_STORED.search(name):
            homeless.append(name)
    return sources, homeless


def _alike(name: str, arch: str, sources: list[Slot], found: Any) -> bool:
    """Whether the shapes are the same; Gemma 3's embedding loses the rows that no token has."""
    shape = [len(sources), *sources[0].shape] if len(sources) > 1 else [*sources[0].shape]
    told = [int(size) for size in reversed(found.shape)]
    if name == "token_embd.weight" and arch == "gemma3":
        return told[1:] == shape[1:] and told[0] <= shape[0]
    return told == shape


def _worst(arch: str, name: str, sources: list[Slot], found: Any, config: dict[str, Any]) -> float:
    """The error of a tensor, as a share of what its type's rounding allows; infinite for what is no number."""
    from gguf.quants import dequantize

    kind = found.tensor_type.name
    data = np.array(found.data, copy=None, ndmin=len(sources[0].shape) + 1)  # a plain view of the mapped file
    worst, off_squares, squares = 0.0, 0.0, 0.0
    for slot, stored in zip(sources, data, strict=True):
        rows = stored.reshape(-1, stored.shape[-1])
        for start, expected in _chunks(_as_stored(arch, name, read(slot), config), len(rows)):
            off = torch.tensor(dequantize(rows[start : start + len(expected)], found.tensor_type)) - expected
            if kind in EXACT:
                share = off.abs_().div_(_allowed(expected, kind)).max()
                worst = max(worst, float(share.nan_to_num(nan=math.inf)))
            else:
                off_squares += float(off.square_().sum().nan_to_num(nan=math.inf))
                squares += float(expected.square().sum())
    return worst if kind in EXACT else math.sqrt(off_squares / max(squares, 1e-30)) / SMALLER_TYPES_SHARE


def _as_stored(arch: str, name: str, tensor: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    """A tensor as the converter writes it."""
    if arch in SHIFTED and name.endswith("norm.weight"):
        return tensor.float() + 1
    turned = re.search(r"\.attn_([qk])\.", name) if arch in ROTATED else None
    if turned is None:
        return tensor
    queries = int(config["num_attention_heads"])
    heads = queries if turned[1] == "q" else int(config.get("num_key_value_heads") or queries)
    return tensor.reshape(heads, 2, len(tensor) // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def _chunks(tensor: torch.Tensor, rows: int) -> Iterator[tuple[int, torch.Tensor]]:
    """The first rows of a tensor as fp32 matrices of some rows each, with the number of their first."""
    matrix = tensor.reshape(-1, tensor.shape[-1])[:rows]
    step = max(1, CHUNK_WEIGHTS // matrix.shape[1])
    for start in range(0, len(matrix), step):
        yield start, matrix[start : start + step].float()


def _allowed(expected: torch.Tensor, kind: str) -> torch.Tensor:
    """The largest error that rounding to a type can make of each weight.

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
    """Sorts experts.10 behind experts.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]
