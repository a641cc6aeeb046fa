"""The installed torch build, without importing it here: that takes seconds, and fails on a broken machine."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

TIMEOUT_S = 120.0
PROBE = """
import json, torch
said = {"version": torch.__version__, "cuda": torch.version.cuda, "archs": torch.cuda.get_arch_list(), "error": None}
try:
    torch.cuda.init()
except Exception as error:
    said["error"] = str(error) or type(error).__name__
print("\\n" + json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """Facts about torch, read in a process of its own."""

    version: str | None = None
    """None if it can't be imported."""
    cuda: str | None = None
    """The CUDA it was built for, as 13.0; None for a CPU build."""
    archs: tuple[str, ...] = ()
    """Architectures it has code for: sm_90 is machine code, compute_90 is translated on newer cards. Empty without a
    card."""
    error: str | None = None
    """The last line of the error, if it can't be imported or can't reach a card."""


def built_for_cuda() -> str | None:
    """The CUDA version that torch was built for, from its version.py; None for a CPU build, or without torch."""
    spec = util.find_spec("torch")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        file = Path(folder) / "version.py"
        for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
            name, _, value = line.partition("=")
            if name.split(":")[0].strip() == "cuda" and value.strip() != "None":
                return value.strip().strip("'\"")
    return None


def ask_torch(probe: str = PROBE) -> TorchFacts:
    """Import torch in another process and read its facts. probe: Python code that prints them as a line of JSON."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", probe],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TorchFacts(error=f"no answer within {TIMEOUT_S:.0f} s")
    if done.returncode != 0:
        return TorchFacts(error=_last_line(done.stderr) or f"it ended with status {done.returncode}")
    facts = json.loads(_last_line(done.stdout))
    error = _last_line(facts["error"]) if facts["error"] is not None else None
    return TorchFacts(facts["version"], facts["cuda"], tuple(facts["archs"]), error)


def runs_on(archs: Sequence[str], capability: tuple[int, int]) -> bool:
    """True if code for `archs` runs on a card of this compute capability.

    sm_XY runs on the same major and the same or a higher minor version, compute_XY (PTX) on any card that is not older
    (CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility").
    """
    binary = any(major == capability[0] and minor <= capability[1] for major, minor in capabilities(archs, "sm"))
    return binary or any(arch <= capability for arch in capabilities(archs, "compute"))


def capabilities(archs: Sequence[str], kind: str) -> list[tuple[int, int]]:
    """(9, 0) for `sm_90`, (12, 0) for `sm_120`. Left out: sm_90a and the like, which run on one kind of card."""
    matches = (re.fullmatch(rf"{kind}_(\d+)(\d)", arch) for arch in archs)
    return [(int(match[1]), int(match[2])) for match in matches if match]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
