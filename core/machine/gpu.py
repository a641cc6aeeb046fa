"""The cards of this machine, read through NVML: their properties, free memory, and the processes that hold the rest.

Nothing here raises for a faulty driver: that is a state with a sentence and a hint (`gpu_faults`). A number that a card
or its driver doesn't report is None. The module `pynvml` comes from the package nvidia-ml-py.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fitune.core.machine import gpu_faults
from fitune.core.machine.gpu_faults import Fault, GpuState


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a card."""

    pid: int
    """The process id."""
    name: str | None = None
    """The name of its program."""
    used_bytes: int | None = None
    """Bytes of the card's memory that it holds."""
    user: str | None = None
    """The name of the user who runs it."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card, or one MIG slice of a card."""

    index: int
    """The number that nvidia-smi shows; a MIG slice has that of its card."""
    uuid: str
    """The id that CUDA_VISIBLE_DEVICES takes, as nvidia-smi -L shows it."""
    name: str
    """The model of the card, as its driver gives it."""
    total_bytes: int | None = None
    """Bytes of its memory."""
    free_bytes: int | None = None
    """Bytes of its memory that are free."""
    used_bytes: int | None = None
    """Held by processes and, in small part, by the driver."""
    processes: tuple[GpuProcess, ...] | None = None
    """Processes that hold its memory, as far as they can be seen: a container doesn't see other containers."""
    compute_capability: tuple[int, int] | None = None
    """Major and minor number, such as (8, 9)."""
    temperature_c: int | None = None
    """Degrees Celsius."""
    power_w: float | None = None
    """Watts that it draws now."""
    power_limit_w: float | None = None
    """Watts that it may draw."""
    utilisation_percent: int | None = None
    """The share of time in which it computed lately, from 0 to 100."""
    ecc: bool | None = None
    """True if its memory corrects errors (ECC is on)."""
    mig: bool | None = None
    """True for a MIG slice; None for a card without MIG."""
    pcie_generation: int | None = None
    """The most that card and slot agree on; the current value drops while a card idles."""
    pcie_width: int | None = None
    """Lanes, likewise."""
    display_active: bool | None = None
    """True if a display is attached and on."""
    allowed: bool = True
    """True if CUDA_VISIBLE_DEVICES allows this card."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """A live reading of one card; all None once it can't be read."""

    uuid: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    utilisation_percent: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None


class Cards(NamedTuple):
    """The cards that NVML reported, or the fault that kept it from reporting."""

    gpus: tuple[Gpu, ...] = ()
    gpu_state: GpuState = "ok"
    gpu_message: str = ""
    """The fault. With the state ok: the fault of one card among several."""
    gpu_hint: str = ""
    driver_version: str | None = None
    cuda_version: str | None = None
    """The newest CUDA that the driver supports, as 13.0."""


def read_cards() -> Cards:
    """Read every card, in one NVML session."""
    try:
        import pynvml
    except ImportError:
        return Cards((), *gpu_faults.NO_PACKAGE)
    try:
        with _session(pynvml):
            return _read_all(pynvml)
    except pynvml.NVMLError as error:
        return Cards((), *gpu_faults.of_code(error.value, str(error)))


def sample(uuid: str) -> GpuSample:
    """Sample one card's current values, for a screen that asks about once a second."""
    try:
        import pynvml
    except ImportError:
        return GpuSample(uuid)
    try:
        with _session(pynvml):
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return GpuSample(uuid, **_memory(pynvml, handle), **_load(pynvml, handle))
    except pynvml.NVMLError:
        return GpuSample(uuid)


@contextmanager
def _session(nvml: Any) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        _ask(nvml, nvml.nvmlShutdown)


def _ask(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of an NVML call; None where this card, driver or user doesn't get one."""
    try:
        return function(*arguments)
    except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        return None


def _read_all(nvml: Any) -> Cards:
    gpus: list[Gpu] = []
    faults: list[Fault] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            devices = _read_card(nvml, index)
            fault = None if devices else gpu_faults.mig_empty(index)
        except nvml.NVMLError as error:
            devices, fault = [], gpu_faults.of_code(error.value, str(error))
        gpus += devices
        if fault:
            faults.append(fault._replace(message=f"Card {index}: {fault.message}"))
    cuda = _ask(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return _summary(gpus, faults)._replace(
        driver_version=_ask(nvml, nvml.nvmlSystemGetDriverVersion),
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
    )


def _summary(gpus: list[Gpu], faults: list[Fault]) -> Cards:
    if not gpus and not faults:
        return Cards((), *gpu_faults.NO_CARD)
    return Cards(
        _marked_allowed(gpus, os.environ.get("CUDA_VISIBLE_DEVICES")),
        "ok" if gpus else faults[0].state,
        " ".join(fault.message for fault in faults),
        faults[0].hint if faults else "",
    )


def _marked_allowed(gpus: list[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """The cards with `allowed` set by CUDA_VISIBLE_DEVICES (numbers, UUIDs or their beginnings).

    CUDA orders different cards by speed unless CUDA_DEVICE_ORDER=PCI_BUS_ID; the numbers here are in PCI bus order.
    """
    if visible is None:
        return tuple(gpus)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return tuple(
        replace(gpu, allowed=any(name == str(gpu.index) or gpu.uuid.startswith(name) for name in names)) for gpu in gpus
    )


def _read_card(nvml: Any, index: int) -> list[Gpu]:
    """Read a card, or its slices where MIG is on: CUDA runs on those only."""
    card = nvml.nvmlDeviceGetHandleByIndex(index)
    mig = _ask(nvml, nvml.nvmlDeviceGetMigMode, card)
    if not mig or not mig[0]:
        return [_gpu(nvml, index, card, card, None if mig is None else False)]
    count = _ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0
    slices = [_ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, slot) for slot in range(count)]
    return [_gpu(nvml, index, device, card, True) for device in slices if device is not None]


def _gpu(nvml: Any, index: int, handle: Any, card: Any, mig: bool | None) -> Gpu:
    """Read one device. handle: the card, or a MIG slice of it. Values that only a card has are read from `card`."""
    power_limit_mw = _ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, card)
    ecc = _ask(nvml, nvml.nvmlDeviceGetEccMode, card)
    display = _ask(nvml, nvml.nvmlDeviceGetDisplayActive, card)
    return Gpu(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        processes=_processes(nvml, handle),
        compute_capability=_ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, card),
        power_limit_w=None if power_limit_mw is None else power_limit_mw / 1000,
        ecc=None if ecc is None else bool(ecc[0]),
        mig=mig,
        pcie_generation=_ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, card),
        pcie_width=_ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkWidth, card),
        display_active=None if display is None else bool(display),
        **_memory(nvml, handle),
        **_load(nvml, card),
    )


def _memory(nvml: Any, handle: Any) -> dict[str, Any]:
    """Bytes; unknown on boards that share their memory with the host."""
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    names = {"total_bytes": "total", "free_bytes": "free", "used_bytes": "used"}
    return {field: None if memory is None else int(getattr(memory, name)) for field, name in names.items()}


def _load(nvml: Any, card: Any) -> dict[str, Any]:
    utilisation = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, card)
    power_mw = _ask(nvml, nvml.nvmlDeviceGetPowerUsage, card)
    return {
        "utilisation_percent": None if utilisation is None else int(utilisation.gpu),
        "temperature_c": _ask(nvml, nvml.nvmlDeviceGetTemperatureV, card, nvml.NVML_TEMPERATURE_GPU)
        or _ask(nvml, nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU),
        "power_w": None if power_mw is None else power_mw / 1000,
    }


def _processes(nvml: Any, handle: Any) -> tuple[GpuProcess, ...] | None:
    """Processes that compute or draw on the card, the largest first; a process that does both counts once."""
    lists = [
        _ask(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle),
        _ask(nvml, nvml.nvmlDeviceGetGraphicsRunningProcesses, handle),
    ]
    if lists == [None, None]:
        return None
    used_bytes: dict[int, int | None] = {}
    for process in (process for processes in lists for process in processes or ()):
        used_bytes[process.pid] = max(used_bytes.get(process.pid) or 0, process.usedGpuMemory or 0) or None
    largest_first = sorted(used_bytes.items(), key=lambda item: -(item[1] or 0))
    return tuple(_process(pid, used) for pid, used in largest_first)


def _process(pid: int, used_bytes: int | None) -> GpuProcess:
    import psutil

    name = user = None
    try:
        process = psutil.Process(pid)
        name = process.name()
        user = process.username()
    except psutil.Error:  # gone meanwhile, or not ours to look at
        return GpuProcess(pid, name, used_bytes, user)
    return GpuProcess(pid, name, used_bytes, user)
