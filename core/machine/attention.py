"""The attention kernel that Unsloth uses for rows laid end to end, found by metadata: no package is imported."""

import json
import re
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from fitune.core.machine.check import Check
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.packages import add_training_stack

Kernel = Literal["flash-attn", "xformers", "torch", "one by one"]
"""flash-attn and xformers are packages, torch has a kernel of its own; "one by one" starts a kernel for each row."""
OLDEST_CAPABILITY = (8, 0)
"""FlashAttention 2 needs Ampere. On older cards arithmetic takes so long that one kernel for each row costs little."""
OLDEST_TORCH = (2, 11)
"""The first torch whose kernel takes sliding windows, which Unsloth asks for."""


@dataclass(frozen=True, slots=True)
class Packages:
    """The installed packages that have such a kernel; None where one is not installed."""

    torch: str | None = None
    flash_attn: str | None = None
    xformers: str | None = None
    xformers_fits: bool = False
    """True if xformers was built for the installed torch and its CUDA: it does not load beside another one."""


def installed(torch: str | None, torch_cuda: str | None) -> Packages:
    """The packages of this environment. torch, torch_cuda: the version of torch and the CUDA it was built for."""
    built_for = _xformers_build()
    fits = built_for is not None and torch is not None and built_for == (torch.partition("+")[0], torch_cuda)
    return Packages(torch, _version("flash_attn"), _version("xformers"), fits)


def expected_kernel(packages: Packages, capability: tuple[int, int]) -> Kernel:
    """The kernel that a training with Unsloth will use on a card of this compute capability, in Unsloth's order."""
    new_enough = capability >= OLDEST_CAPABILITY
    if packages.flash_attn and new_enough:
        return "flash-attn"
    if packages.xformers_fits:
        return "xformers"
    return "torch" if new_enough and _numbers(packages.torch or "0") >= OLDEST_TORCH else "one by one"


def check_attention(gpu: Gpu, packages: Packages) -> Check:
    """Check that Unsloth has a fast attention kernel for rows laid end to end on a card."""
    name = f"GPU {gpu.index} attention"
    if gpu.compute_capability is None:
        return Check(name, "warn", f"{gpu.name} doesn't tell its compute capability.")
    kernel = expected_kernel(packages, gpu.compute_capability)
    if kernel != "one by one":
        source = "torch's FlashAttention" if kernel == "torch" else f"the package {kernel}"
        return Check(name, "ok", f"Rows laid end to end use {source}.")
    if gpu.compute_capability < OLDEST_CAPABILITY:
        return Check(name, "ok", f"{gpu.name} is too old for FlashAttention: attention takes one row after another.")
    text = f"No FlashAttention fits torch {packages.torch}: attention takes one row after another, slow for short rows."
    return Check(name, "warn", text, f"Install the pinned set: {add_training_stack()}")


def _xformers_build() -> tuple[str, str] | None:
    """The versions of torch and CUDA that xformers was built for, as it says itself; None if it says nothing."""
    spec = util.find_spec("xformers")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (file := Path(folder) / "cpp_lib.json").is_file():
            build = json.loads(file.read_text("utf-8")).get("version", {})
            cuda = int(build.get("cuda") or 0)
            return str(build.get("torch")).partition("+")[0], f"{cuda // 100}.{cuda % 100}"
    return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
