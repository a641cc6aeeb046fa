"""A model's tensors in their safetensors files, read and written one at a time, so that no model lies in memory whole.

The format is 8 bytes of length, a JSON header {name: {dtype, shape, data_offsets}}, then the data
(https://github.com/huggingface/safetensors#format). The library itself maps a whole file to read it and wants all
its tensors in memory to write it.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import torch

from core.errors import UserError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types that are computed with; others are only copied."""
BLOCK_BYTES = 1 << 24


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

    def at_16_bits(self) -> "Slot":
        """The same tensor as bfloat16 if it is fp32; any other as it is."""
        return replace(self, dtype="BF16", stop=self.start + 2 * self.weights) if self.dtype == "F32" else self


def slots_in(folder: Path) -> dict[str, Slot]:
    """Every tensor of a model folder by name, file by file in the order they are stored; only headers are read.

    Raises UserError if a file is missing or damaged.
    """
    return {name: slot for file in weight_files(folder) for name, slot in _header(file)}


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
    raw = torch.empty(slot.bytes, dtype=torch.uint8)
    with slot.file.open("rb", buffering=0) as file:
        file.seek(slot.start)
        _fill(file, memoryview(raw.numpy()))
    return raw.view(DTYPES[slot.dtype]).view(slot.shape)


def blocks(slot: Slot) -> Iterator[memoryview]:
    """A tensor's bytes as they are stored, in parts of BLOCK_BYTES; each is overwritten by the next but one."""
    pair = [memoryview(bytearray(min(BLOCK_BYTES, slot.bytes))) for _ in range(2)]
    with slot.file.open("rb", buffering=0) as file:
        file.seek(slot.start)
        for number, start in enumerate(range(slot.start, slot.stop, BLOCK_BYTES)):
            block = pair[number % 2][: min(BLOCK_BYTES, slot.stop - start)]
            _fill(file, block)
            yield block


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """A CPU tensor's bytes, not copied."""
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def write(file: Path, layout: dict[str, Slot], content: Callable[[str], Iterable[memoryview]]) -> None:
    """Write a safetensors file of the names, types, shapes and sizes of layout; content gives a name's bytes in parts.

    A part is written while the next is made, so it must outlive that.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, slot in layout.items():
        start, end = end, end + slot.bytes
        header[name] = {"dtype": slot.dtype, "shape": slot.shape, "data_offsets": [start, end]}
    raw = orjson.dumps(header)
    raw += b" " * (-len(raw) % 8)
    with file.open("wb", buffering=0) as out, ThreadPoolExecutor(1) as pool:
        out.write(len(raw).to_bytes(8, "little") + raw)
        pending = None
        for name in layout:
            for part in content(name):
                if pending:
                    pending.result()
                pending = pool.submit(_write_all, out, part)
        if pending:
            pending.result()


def _header(file: Path) -> list[tuple[str, Slot]]:
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


def _fill(file: Any, block: memoryview) -> None:
    filled = 0
    while filled < len(block):
        got = file.readinto(block[filled:])
        if not got:
            raise UserError(f"{file.name} ended too early: it was changed while it was read.")
        filled += got


def _write_all(out: Any, part: memoryview) -> None:
    while part:
        part = part[out.write(part) :]
