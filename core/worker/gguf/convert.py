"""GGUF files from a merged model: made by llama.cpp's own converter and quantizer, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

from fitune.core.errors import UserError


def convert(script: Path, merged: Path, file: Path, kind: str) -> None:
    """Write a model folder as one GGUF file of a kind in CONVERTED. Raises UserError with what the converter said."""
    _run([sys.executable, str(script), str(merged), "--outfile", str(file), "--outtype", kind], "The converter")


def quantize_command(source: Path, file: Path, kind: str, program: str = "llama-quantize") -> list[str]:
    """What makes a smaller GGUF file of a 16-bit one."""
    return [program, str(source), str(file), kind.upper()]


def quantize(program: str, source: Path, file: Path, kind: str) -> None:
    """Make a smaller GGUF file of a 16-bit one. Raises UserError with what llama-quantize said."""
    _run(quantize_command(source, file, kind, program), "llama-quantize")


def _run(command: list[str], who: str) -> None:
    """Run to the end, its output in worker.log too. llama.cpp cuts long values by bytes, so within a letter, too."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    print(done.stdout, file=sys.stderr, flush=True)  # which takes any letter in any locale
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.strip()]
        raise UserError(
            f"{who} failed: {said[-1][:300] if said else f'exit status {done.returncode}'}",
            "worker.log has all it said. The merged model is as it was.",
        )
