"""Run llama.cpp's converter and quantizer, each in a process of its own, to make GGUF files from a merged model."""

import subprocess
import sys
from pathlib import Path

from fitune.core.errors import UserError


def convert(script: Path, merged: Path, file: Path, kind: str) -> None:
    """Write a model folder as a GGUF file of a kind in CONVERTER_KINDS. Raises UserError with the converter's error."""
    _run([sys.executable, str(script), str(merged), "--outfile", str(file), "--outtype", kind], "The converter")


def quantize_command(source: Path, file: Path, kind: str, program: str = "llama-quantize") -> list[str]:
    """The command that makes a smaller GGUF file from a 16-bit one."""
    return [program, str(source), str(file), kind.upper()]


def quantize(program: str, source: Path, file: Path, kind: str) -> None:
    """Make a smaller GGUF file from a 16-bit one. Raises UserError with llama-quantize's error."""
    _run(quantize_command(source, file, kind, program), "llama-quantize")


def _run(command: list[str], program: str) -> None:
    """Run a command, with its output in worker.log. llama.cpp cuts long values by bytes, so its UTF-8 may be broken."""
    process = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    print(process.stdout, file=sys.stderr, flush=True)  # stderr accepts any character in any locale
    if process.returncode:
        lines = [line for line in process.stdout.splitlines() if line.strip()]
        raise UserError(
            f"{program} failed: {lines[-1][:300] if lines else f'exit status {process.returncode}'}",
            "worker.log has its whole output. The merged model is unchanged.",
        )
