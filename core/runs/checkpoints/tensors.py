"""A safetensors file without torch: is it whole, and are its numbers finite?

The format: 8 bytes with the size of the header, the header as JSON ({name: {dtype, shape, data_offsets}}), then the
data (github.com/huggingface/safetensors, README).
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from fitune.core.files import open_file

BLOCK_BYTES = 1 << 26
_NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_BF16_EXPONENT = 0x7F80
"""All ones in a bf16 number that is infinite or NaN."""


def flaw_of_tensors(path: Path) -> str | None:
    """What is wrong with a safetensors file, as the end of a sentence about it; None if it is whole and finite.

    Raises OSError if it can't be read.
    """
    import numpy  # a tenth of a second, which only a resume needs

    with open(open_file(path), "rb") as file:
        try:
            tensors, begin_of_data, data_bytes = _header(file, path.stat().st_size)
        except ValueError as error:
            return str(error)
        data = numpy.memmap(file, dtype=numpy.uint8, mode="r", offset=begin_of_data, shape=(data_bytes,))
        for name, entry in tensors.items():
            begin, end = _range(entry)
            if not _is_finite(data[begin:end], str(entry["dtype"])):
                return f"holds NaN or infinity, in {name}"
    return None


def flaw_of_header(path: Path) -> str | None:
    """As `flaw_of_tensors`, but without a look at the numbers: quick for any size."""
    with open(open_file(path), "rb") as file:
        try:
            _header(file, path.stat().st_size)
        except ValueError as error:
            return str(error)
    return None


def narrow_weight(path: Path) -> str | None:
    """The first weight of a file that is stored in fewer than 16 bits, with its dtype: it means nothing without its
    scale. None if there is none; old models keep masks as whole numbers, which are no weights.

    Raises OSError if the file can't be read, ValueError if it is damaged.
    """
    with open(open_file(path), "rb") as file:
        tensors, _, _ = _header(file, path.stat().st_size)
    for name, entry in tensors.items():
        dtype = str(entry.get("dtype"))
        if dtype.startswith("F8") or (name.endswith("weight") and dtype not in _BYTES):
            return f"{name} ({dtype})"
    return None


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int, int]:
    """The tensors of a file with their dtype and range, the first byte of the data, and how many there are.

    Raises ValueError with the end of a sentence on what is wrong.
    """
    head = file.read(8)
    header_bytes = struct.unpack("<Q", head)[0] if len(head) == 8 else size
    if header_bytes + 8 > size:
        raise ValueError("is cut off")
    try:
        header = orjson.loads(file.read(header_bytes))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        data_bytes = max((_range(entry)[1] for entry in tensors.values()), default=0)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("is no safetensors file") from None
    if not data_bytes:
        raise ValueError("holds no weights")
    if size != 8 + header_bytes + data_bytes:
        raise ValueError("is cut off")
    return tensors, 8 + header_bytes, data_bytes


def _is_finite(data: Any, dtype: str) -> bool:
    """True if the bytes of a tensor are finite numbers of that type, or of a type of whole numbers or 8 bits."""
    import numpy

    for begin in range(0, len(data), BLOCK_BYTES):
        block = data[begin : begin + BLOCK_BYTES]
        if dtype == "BF16":
            is_finite = (block.view("<u2") & _BF16_EXPONENT != _BF16_EXPONENT).all()
        elif dtype in _NUMPY_TYPES:
            is_finite = numpy.isfinite(block.view(_NUMPY_TYPES[dtype])).all()
        else:
            return True
        if not is_finite:
            return False
    return True


def _range(entry: dict[str, Any]) -> tuple[int, int]:
    """The first byte of a tensor and the one behind its last. Raises KeyError, TypeError or ValueError."""
    begin, end = map(int, entry["data_offsets"])
    if not 0 <= begin <= end or (end - begin) % _BYTES.get(entry["dtype"], 1):
        raise ValueError("no range of such numbers")
    return begin, end
