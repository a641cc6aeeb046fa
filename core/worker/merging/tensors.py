"""A model's tensors in their safetensors files, read and written in parts, so that no model lies in memory whole.

The format is 8 bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, then the data
(https://github.com/huggingface/safetensors#format). The library itself maps a whole file to read it and wants all
its tensors in memory to write it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import torch

from fitune.core.errors import UserError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types that are computed with; others are only copied."""
BLOCK_WEIGHTS = 1 << 22
"""Of a block of rows: small enough that its 16 MB of fp32 come from memory that was used before, which is not cleared
again (glibc's malloc keeps what is under 32 MB), large enough that starting work on it costs nothing."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies."""

    file: Path
    dtype: str
    """As safetensors calls it: F32, BF16, I64 ..."""
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

    def rows(self, first: int, last: int) -> "Slot":
        """A part of the tensor: its rows from first up to, not including, last."""
        row_bytes = self.bytes // self.shape[0]
        start = self.start + first * row_bytes
        return replace(
            self, shape=(last - first, *self.shape[1:]), start=start, stop=start + (last - first) * row_bytes
        )

    def blocks(self) -> list[tuple[int, int]]:
        """Its rows in blocks of at most BLOCK_WEIGHTS, or of one row each: the first, and the one after the last."""
        each = max(1, BLOCK_WEIGHTS * self.shape[0] // self.weights)
        return [(first, min(first + each, self.shape[0])) for first in range(0, self.shape[0], each)]

    def at_16_bits(self) -> "Slot":
        """The same tensor as bfloat16 if it is fp32; any other as it is."""
        return replace(self, dtype="BF16", stop=self.start + 2 * self.weights) if self.dtype == "F32" else self


def slots_in(folder: Path) -> dict[str, Slot]:
    """Every tensor of a model folder by name, file by file in the order they are stored; only headers are read.

    Raises UserError if a file is missing or damaged.
    """
    return {name: slot for file in weight_files(folder) for name, slot in header(file)}


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a model's weights: those of its index, or all. Raises UserError if one is missing."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    files = sorted({folder / name for name in orjson.loads(index.read_bytes())["weight_map"].values()})
    if lost := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{folder} lacks {', '.join(lost[:3])}.", "Remove the folder and try again.")
    return files


def read(slot: Slot) -> torch.Tensor:
    """A tensor of one of DTYPES, in its shape, on the CPU."""
    return read_bytes(slot).view(DTYPES[slot.dtype]).view(slot.shape)


def read_bytes(slot: Slot) -> torch.Tensor:
    """A tensor's bytes as they are stored, of any type."""
    raw = torch.empty(slot.bytes, dtype=torch.uint8)
    filled, block = 0, memoryview(raw.numpy())
    with slot.file.open("rb", buffering=0) as file:
        file.seek(slot.start)
        while filled < slot.bytes:
            got = file.readinto(block[filled:])
            if not got:
                raise UserError(f"{slot.file} ended too early: it was changed while it was read.")
            filled += got
    return raw


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """A CPU tensor's bytes, not copied."""
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def write(file: Path, layout: dict[str, Slot], parts: Iterable[memoryview]) -> None:
    """Write a safetensors file of the names, types, shapes and sizes of layout; parts are its bytes in that order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, slot in layout.items():
        start, end = end, end + slot.bytes
        header[name] = {"dtype": slot.dtype, "shape": slot.shape, "data_offsets": [start, end]}
    raw = orjson.dumps(header)
    raw += b" " * (-len(raw) % 8)
    with file.open("wb") as out:
        out.write(len(raw).to_bytes(8, "little") + raw)
        for part in parts:
            out.write(part)


def header(file: Path) -> list[tuple[str, Slot]]:
    """The tensors of a safetensors file in the order they are stored. Raises UserError if it is damaged."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        raw = opened.read(length) if length < size else b""
    try:
        header = orjson.loads(raw)
        found = [
            (name, Slot(file, told["dtype"], tuple(told["shape"]), *(8 + length + at for at in told["data_offsets"])))
            for name, told in header.items()
            if name != "__metadata__"
        ]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        found = []
    found.sort(key=lambda pair: pair[1].start)
    if not found or found[-1][1].stop != size:
        raise UserError(f"{file} is not a whole safetensors file.", "Fetch or make it again.")
    return found
