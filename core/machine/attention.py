"""The kernels of attention, and of the layers that take its place in some models, found without importing a package.

Without a kernel for them transformers takes reference code in plain torch, which is right but slow: by an order of
magnitude for gated delta rules on an H100, as its integrations/hub_kernels.py says (5.17).
"""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from fitune.core.machine.check import Check
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.packages import add_training_stack, installer

Kernel = Literal["flash-attn", "xformers", "torch", "one by one"]
"""flash-attn and xformers are packages, torch has a kernel of its own; "one by one" starts a kernel for each row."""
OLDEST_CAPABILITY = (8, 0)
"""FlashAttention 2 needs Ampere. On older cards arithmetic takes so long that one kernel for each row costs little."""
OLDEST_TORCH = (2, 11)
"""The first torch whose kernel takes sliding windows, which Unsloth asks for."""
LINEAR_ATTENTION = ("qwen3_next", "qwen3_5", "qwen4_exp", "kimi_linear", "olmo_hybrid")
"""Beginnings of the model_type of models with gated delta rules. Unsloth brings the kernels along."""
STATE_SPACE = ("bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "mamba", "nemotron_h", "zamba")
"""The same of models with Mamba layers."""
MODULES = {"flash-linear-attention": "fla", "causal-conv1d": "causal_conv1d", "mamba-ssm": "mamba_ssm"}
"""Package -> its module."""


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


def missing_kernels(model_type: str, backend: str, is_there: Callable[[str], bool] | None = None) -> tuple[str, ...]:
    """The packages, of those not installed, without which other layers of a model than attention are slow on a card.

    is_there: tells if a module is installed.
    """
    needed: tuple[str, ...] = ()
    if model_type.startswith(LINEAR_ATTENTION) and backend != "unsloth":
        needed = ("flash-linear-attention",)
    elif model_type.startswith(STATE_SPACE):
        needed = ("causal-conv1d", "mamba-ssm")
    return tuple(name for name in needed if not (is_there or _is_installed)(MODULES[name]))


def install_sentence(packages: tuple[str, ...]) -> str:
    """How to install missing kernels."""
    command = shlex.join([*(installer() or ["pip", "install"]), *packages])
    if packages == ("flash-linear-attention",):
        return f"Install it: {command}"
    return f"Install what is missing (it is built here, with a CUDA compiler): {command} --no-build-isolation"


def check_layers(has_unsloth: bool, is_there: Callable[[str], bool] | None = None) -> Check:
    """Tell what the layers of some models run on that are no attention: of no matter to who trains others."""
    backend = "unsloth" if has_unsloth else "trl"
    linear = missing_kernels(LINEAR_ATTENTION[0], backend, is_there)
    mamba = missing_kernels(STATE_SPACE[0], backend, is_there)
    linear_said = f"is slow without {linear[0]}" if linear else "has its kernels"
    mamba_said = f"are slow without {' and '.join(mamba)}" if mamba else "have their kernels"
    text = f"Linear attention (Qwen3.5, Qwen3-Next) {linear_said}; Mamba layers (Falcon-H1, Nemotron-H) {mamba_said}."
    missing = (*linear, *mamba)
    return Check("other layers", "ok", text, f"For such a model: {install_sentence(missing)}" if missing else "")


def _is_installed(module: str) -> bool:
    return util.find_spec(module) is not None


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
