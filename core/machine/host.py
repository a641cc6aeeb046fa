"""Detect this machine: cards, memory, disk, versions of the training stack; and choose the card and the backend.

None means unknown. torch is never imported here.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from fitune.core.errors import UserError
from fitune.core.machine.gpu import Gpu, GpuProcess, GpuSample, read_cards, sample
from fitune.core.machine.gpu_faults import GpuState
from fitune.core.machine.torch_build import built_for_cuda
from fitune.core.units import GIB

__all__ = [
    "Gpu", "GpuProcess", "GpuSample", "GpuState", "Machine",
    "choose_backend", "describe", "detect", "grows_in_place", "pick_gpu", "planned", "sample",
]  # fmt: skip
CARD_FREE_SHARE = 0.95
"""The share of its memory that an idle card has free, about: the driver takes the rest."""
STACK = (
    "torch", "unsloth", "unsloth_zoo", "trl", "transformers", "peft", "bitsandbytes", "datasets", "accelerate",
    "huggingface_hub", "textual",
)  # fmt: skip
UNSLOTH_CAPABILITY = (7, 0)
"""Oldest compute capability that Unsloth's documentation lists as supported (V100; T4 and RTX 20 are 7.5)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as detected at one moment; `dataclasses.asdict` makes it ready for JSON."""

    gpus: tuple[Gpu, ...] = ()
    """All cards, or MIG slices, by their number."""
    gpu_state: GpuState = "none"
    """The state of the GPU driver; ok if the cards can be read."""
    gpu_message: str = ""
    """The fault. With the state ok: the fault of one card among several."""
    gpu_hint: str = ""
    """A next action for the fault; may be empty."""
    driver_version: str | None = None
    """The version of the NVIDIA driver."""
    cuda_version: str | None = None
    """The newest CUDA that the driver supports, as 13.0."""
    torch_cuda: str | None = None
    """The CUDA that the installed torch was built for; None for a CPU build too."""
    ram_total_bytes: int | None = None
    """Bytes of the host, or of the container if that has less."""
    ram_available_bytes: int | None = None
    """Bytes of RAM that a new process may take without swapping."""
    cpu_name: str | None = None
    """The name of the processor."""
    cpu_cores: int | None = None
    """Cores that this process may use."""
    runs_dir: str | None = None
    """The folder of the runs."""
    disk_free_bytes: int | None = None
    """Free bytes on the disk of `runs_dir`."""
    python_version: str = ""
    """The version of Python, as 3.11.9."""
    versions: dict[str, str | None] = field(default_factory=dict)
    """The version of each package in STACK; None where it isn't installed."""


def detect(runs_dir: Path | None = None) -> Machine:
    """Detect the machine. runs_dir: the folder of the runs, to read the free disk space; it need not exist yet."""
    ram_total_bytes, ram_available_bytes = _ram_bytes()
    return Machine(
        **read_cards()._asdict(),
        torch_cuda=built_for_cuda(),
        ram_total_bytes=ram_total_bytes,
        ram_available_bytes=ram_available_bytes,
        cpu_name=_cpu_name(),
        cpu_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        runs_dir=None if runs_dir is None else str(runs_dir),
        disk_free_bytes=None if runs_dir is None else _disk_free_bytes(runs_dir),
        python_version=platform.python_version(),
        versions={name: _version(name) for name in STACK},
    )


def planned(card_bytes: int) -> Machine:
    """A machine that is not here, with one idle card of that size on which Unsloth works; its RAM and disk are not
    known. As on the box of a card, its GB are GiB."""
    name, free_bytes = f"a planned {round(card_bytes / GIB, 1):g} GB card", round(card_bytes * CARD_FREE_SHARE)
    card = Gpu(0, "planned", name, card_bytes, free_bytes, 0, compute_capability=(8, 0))
    return Machine(gpus=(card,), gpu_state="ok", versions={"unsloth": "planned"})


def pick_gpu(machine: Machine, wanted: str | None) -> Gpu | None:
    """The card to train on: the wanted one, else the one with most free memory; None if there is none.

    wanted: nvidia-smi's number, a UUID or its beginning, or a part of the name. Raises UserError if that matches no
    card, or several, or one that CUDA_VISIBLE_DEVICES hides.
    """
    if wanted is None:
        return max((gpu for gpu in machine.gpus if gpu.allowed), key=lambda gpu: gpu.free_bytes or 0, default=None)
    if not machine.gpus:
        raise UserError(f"Card {wanted!r} can't be used. {machine.gpu_message}", machine.gpu_hint)
    matches = _matching(machine.gpus, wanted.strip().lower())
    cards = "; ".join(map(describe, machine.gpus))
    if len(matches) != 1:
        which = f"fits {len(matches)} cards" if matches else "is no card of this machine"
        raise UserError(f"Card {wanted!r} {which}.", f"Name one by number, UUID or name: {cards}.")
    if not matches[0].allowed:
        raise UserError(
            f"Card {wanted!r} is withheld by the variable CUDA_VISIBLE_DEVICES.",
            f"Unset that if the card is yours to use, or name another: {cards}.",
        )
    return matches[0]


QWEN3_5 = "on an H200 Unsloth 2026.10.7 had not taken its first step with a Qwen3.5 of 8 layers after 4 minutes."
STUCK_IN_UNSLOTH = {
    "qwen3_5": QWEN3_5,
    **dict.fromkeys(("qwen3_5_moe", "qwen3_next", "qwen4_exp"), f"its linear attention is that of Qwen3.5; {QWEN3_5}"),
    "gemma4": "on an H200 Unsloth 2026.10.7 did not come to a first step with a Gemma 4 of 12 layers.",
}
"""Architectures, and what happened with them (2026-11-29, torch 2.11.0, bench/results/families_h200_2026-11-29.jsonl).
A recipe that asks for unsloth still gets it."""


def choose_backend(
    recipe_backend: str, gpu: Gpu | None, versions: Mapping[str, str | None], model_type: str | None = None
) -> tuple[str, str]:
    """The backend ("unsloth" or "trl") for a recipe's train.backend, and the reason as a sentence.

    versions: as in Machine. model_type: the architecture, where it is known. Raises UserError where unsloth is asked
    for and can't work: it is never replaced silently.
    """
    if recipe_backend == "trl":
        return "trl", "The recipe asks for trl."
    if gpu is None:
        obstacle = "there is no NVIDIA card to use"
    elif gpu.compute_capability is None:
        obstacle = f"{gpu.name} doesn't tell its compute capability"
    elif gpu.compute_capability < UNSLOTH_CAPABILITY:
        obstacle = f"{gpu.name} has compute capability {_dotted(gpu.compute_capability)}, below the 7.0 it needs"
    elif versions.get("torch") and not versions.get("unsloth"):  # without torch both are still to come
        obstacle = "it is not installed"
    elif recipe_backend == "auto" and (stuck := STUCK_IN_UNSLOTH.get((model_type or "").removesuffix("_text"))):
        return "trl", f"trl: {stuck}"
    else:
        return "unsloth", f"unsloth supports {gpu.name}; it is faster than trl and takes less memory."
    if recipe_backend == "unsloth":
        raise UserError(f"The backend unsloth can't be used: {obstacle}.", 'Set train.backend = "trl" or "auto".')
    return "trl", f"unsloth can't be used: {obstacle}."


def grows_in_place() -> bool:
    """True if torch can let allocations grow in place on this machine's cards: not on Windows, nor on Linux inside it
    (WSL), which unsloth_zoo/__init__.py detects the same way."""
    return os.name != "nt" and "microsoft" not in platform.release().lower()


def describe(gpu: Gpu) -> str:
    """A card in a few words, for messages that list the cards."""
    free = f", {gpu.free_bytes / GIB:.1f} GiB free" if gpu.free_bytes is not None else ""
    return f"{gpu.index} = {gpu.name} ({gpu.uuid}{free})"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _matching(gpus: tuple[Gpu, ...], text: str) -> list[Gpu]:
    """The cards with this number; if none, those whose UUID begins with it; if none, those with it in their name."""
    rules = (
        [gpu for gpu in gpus if str(gpu.index) == text],
        [gpu for gpu in gpus if text and gpu.uuid.lower().startswith(text)],
        [gpu for gpu in gpus if text and text in gpu.name.lower()],
    )
    return next((matches for matches in rules if matches), [])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _disk_free_bytes(folder: Path) -> int | None:
    """Free bytes for this user in a folder, or in the nearest existing folder above it."""
    import psutil

    existing = folder.absolute()
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    try:
        return int(psutil.disk_usage(str(existing)).free)
    except OSError:  # a network disk that is away
        return None


def _ram_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Total and available bytes of memory: the host's, or less where a container (cgroup v2 or v1) has a limit."""
    import psutil

    host = psutil.virtual_memory()
    for limit_file, used_file, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(cgroup / limit_file)
        used = _number(cgroup / used_file)
        if limit is not None and used is not None and limit < host.total:
            # Unused file pages are given back before the limit is reached, as in the host's `available`.
            stat = (cgroup / limit_file).with_name("memory.stat").read_text().split()
            cache = dict(zip(stat[::2], stat[1::2], strict=True)).get(cache_key, "0")
            return limit, max(0, min(host.available, limit - used + int(cache)))
    return host.total, host.available


def _number(file: Path) -> int | None:
    """The number in a file of /sys; None if there is no such file, or it says `max`."""
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None
