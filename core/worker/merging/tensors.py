"""Read and write a model's tensors in safetensors files, in parts, so that no whole model is in memory.

The format is 8 bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, then the data
(https://github.com/huggingface/safetensors#format). The library itself maps a whole file to read it and wants all
its tensors in memory to write it.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import torch

from fitune.core.deliver import indexed_files
from fitune.core.errors import UserError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes that fitune computes with; others are only copied."""
BLOCK_WEIGHTS = 1 << 22
"""Weights in a block of rows: small enough that its 16 MB of fp32 reuse memory, which is not cleared again (glibc's
malloc keeps allocations under 32 MB), large enough that the overhead of a task is negligible."""


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """The location of a tensor in a file."""

    file: Path
    dtype: str
    """The name in safetensors: F32, BF16, I64 ..."""
    shape: tuple[int, ...]
    start: int
    """Offsets from the beginning of the file, in bytes."""
    stop: int

    @property
    def bytes(self) -> int:
        return self.stop - self.start

    @property
    def weights(self) -> int:
        return math.prod(self.shape)

    def rows(self, first: int, last: int) -> "TensorLocation":
        """The location of its rows from first up to, not including, last."""
        row_bytes = self.bytes // self.shape[0]
        start = self.start + first * row_bytes
        return replace(
            self, shape=(last - first, *self.shape[1:]), start=start, stop=start + (last - first) * row_bytes
        )

    def blocks(self) -> list[tuple[int, int]]:
        """Row ranges (first, after the last) of blocks of at most BLOCK_WEIGHTS weights, at least one row each."""
        rows = max(1, BLOCK_WEIGHTS * self.shape[0] // self.weights)
        return [(first, min(first + rows, self.shape[0])) for first in range(0, self.shape[0], rows)]

    def at_16_bits(self) -> "TensorLocation":
        """The location with bfloat16 as dtype if it is fp32; any other unchanged."""
        return replace(self, dtype="BF16", stop=self.start + 2 * self.weights) if self.dtype == "F32" else self

    def at_32_bits(self) -> "TensorLocation":
        """The location with fp32 as dtype."""
        return replace(self, dtype="F32", stop=self.start + 4 * self.weights)


def locate_tensors(folder: Path) -> dict[str, TensorLocation]:
    """The location of every tensor of a model folder by name, in stored order; only headers are read.

    Raises UserError if a file is missing or damaged.
    """
    return {name: location for file in weight_files(folder) for name, location in header(file)}


def layout_of(base: dict[str, TensorLocation], wide: Collection[str]) -> dict[str, TensorLocation]:
    """How the tensors of a model are stored once it is merged: in 16 bits; `base` itself where nothing is stored
    otherwise.

    wide: tensors that keep 32 bits, as all do that were trained themselves: many steps are smaller than what 16 bits
    tell apart, and would be lost.
    """
    if wide:
        return {name: location.at_32_bits() if name in wide else location for name, location in base.items()}
    if 2 * _wide_weights(base) > sum(location.weights for location in base.values()):
        return {name: location.at_16_bits() for name, location in base.items()}
    return base


def dtype_of(layout: dict[str, TensorLocation]) -> str:
    """The type of most weights, as config.json names it."""
    half = sum(location.weights for location in layout.values()) / 2
    return "float32" if _wide_weights(layout) > half else "bfloat16"


def _wide_weights(tensors: dict[str, TensorLocation]) -> int:
    return sum(location.weights for location in tensors.values() if location.dtype == "F32")


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights: those of its index, or all. Raises UserError if one is missing, or the
    index damaged."""
    names = indexed_files(folder)
    if names is None:
        return sorted(folder.glob("*.safetensors"))
    files = sorted(folder / name for name in names)
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{folder} lacks {', '.join(missing[:3])}.", "Remove the folder and try again.")
    return files


def read(location: TensorLocation) -> torch.Tensor:
    """A tensor of one of DTYPES, in its shape, on the CPU."""
    return read_bytes(location).view(DTYPES[location.dtype]).view(location.shape)


def read_bytes(location: TensorLocation) -> torch.Tensor:
    """A tensor's bytes as they are stored, of any dtype."""
    raw = torch.empty(location.bytes, dtype=torch.uint8)
    filled, block = 0, memoryview(raw.numpy())
    with location.file.open("rb", buffering=0) as file:
        file.seek(location.start)
        while filled < location.bytes:
            got = file.readinto(block[filled:])
            if not got:
                raise UserError(f"{location.file} ended too early: it was changed while it was read.")
            filled += got
    return raw


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """A CPU tensor's bytes, without a copy."""
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def write(file: Path, layout: dict[str, TensorLocation], blocks: Iterable[memoryview]) -> None:
    """Write a safetensors file with the names, dtypes and shapes of layout; blocks are its bytes in that order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, location in layout.items():
        start, end = end, end + location.bytes
        header[name] = {"dtype": location.dtype, "shape": location.shape, "data_offsets": [start, end]}
    raw = orjson.dumps(header)
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as out:
        out.write(len(raw).to_bytes(8, "little") + raw)
        for block in blocks:
            out.write(block)


def header(file: Path) -> list[tuple[str, TensorLocation]]:
    """The tensors of a safetensors file in the order they are stored. Raises UserError if it is damaged."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        raw = opened.read(length) if length < size else b""
    try:
        header = orjson.loads(raw)
        tensors = [
            (
                name,
                TensorLocation(
                    file,
                    entry["dtype"],
                    tuple(entry["shape"]),
                    *(8 + length + offset for offset in entry["data_offsets"]),
                ),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        tensors = []
    tensors.sort(key=lambda pair: pair[1].start)
    if not tensors or tensors[-1][1].stop != size:
        raise UserError(f"{file} is not a whole safetensors file.", "Fetch or make it again.")
    return tensors
