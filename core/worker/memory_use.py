"""The memory that the worker uses, by torch's allocator and by the driver: the driver's count fills the card."""

import ctypes
import os
from contextlib import suppress
from typing import Any

import psutil
import pynvml

from fitune.core.runs import Memory

THROTTLED = {0x40: "too hot (hardware)", 0x20: "too hot (software)", 0x80: "power brake", 0x8: "hardware slowdown"}
"""Reasons for a lower clock, by the bits of nvml.h (nvmlClocksEventReasons)."""
M_MMAP_THRESHOLD = -3
"""The name of the setting in glibc's malloc.h."""
RETURNED_BYTES = 1 << 20
"""From this size on a freed block goes back to the system at once."""
LARGE_BLOCKS_BYTES = 2 << 20
"""Hidden states of a micro-batch that are so large leave gaps which cost more memory than they are worth in time."""


class MemoryMeter:
    """Measures the memory of this process. Make it before CUDA starts: then it knows what others hold on the GPU."""

    def __init__(self, gpu_uuid: str | None, predicted_bytes: int | None, high_bytes: int | None = None) -> None:
        """predicted_bytes, high_bytes: the budget's total and its upper bound."""
        self.predicted_bytes, self.high_bytes = predicted_bytes, high_bytes
        self.shared = False
        """True if another process was seen on the card since: then the measurement is not of this process alone."""
        self._card: Any = None
        self._peak_device = self._last_peak = self._others_bytes = 0
        self._held_by_others: int | None = None
        if gpu_uuid:
            with suppress(pynvml.NVMLError):  # a driver or board that will not say: those fields are then unknown
                pynvml.nvmlInit()
                card = pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)
                self._others_bytes = int(pynvml.nvmlDeviceGetMemoryInfo(card).used)
                self._card = card

    def grew(self) -> bool:
        """True if the peak rose by more than 1 % since the last `read`."""
        return self._peak() > self._last_peak * 1.01

    def read(self, step: int | None = None) -> Memory:
        """The memory now and at its peak. step: the step after which it is read."""
        self._last_peak = self._peak()
        import torch

        host = psutil.Process().memory_info().rss
        if not torch.cuda.is_available():
            return Memory(
                step=step,
                host=host,
                peak_host=_peak_rss(),
                predicted=self.predicted_bytes,
                predicted_high=self.high_bytes,
            )
        device = self._device()
        return Memory(
            step=step,
            allocated=torch.cuda.memory_allocated(),
            reserved=torch.cuda.memory_reserved(),
            device=device,
            peak_allocated=torch.cuda.max_memory_allocated(),
            peak_reserved=torch.cuda.max_memory_reserved(),
            peak_device=self._peak_device or None,
            host=host,
            peak_host=_peak_rss(),
            others=self._held_by_others,
            throttled=_throttled(self._card),
            temperature_c=self.temperature_c(),
            busy_percent=_busy_percent(self._card),
            predicted=self.predicted_bytes,
            predicted_high=self.high_bytes,
        )

    def temperature_c(self) -> int | None:
        """The temperature of the card; None if it does not tell, or without a card."""
        if self._card is None:
            return None
        with suppress(pynvml.NVMLError):
            return int(pynvml.nvmlDeviceGetTemperature(self._card, pynvml.NVML_TEMPERATURE_GPU))
        return None

    def _peak(self) -> int:
        """The most bytes held at once. The allocator keeps what it reserved, so a look after each step is enough."""
        import torch

        if not torch.cuda.is_available():
            return _peak_rss()
        self._device()
        return self._peak_device or torch.cuda.max_memory_reserved()

    def _device(self) -> int | None:
        """Bytes that this process takes of the card.

        Alone on the card: all that was added since the start, a little more than the driver books on the process.
        Beside others, or if others have left since the start: what the driver books.
        """
        if not self._card:
            return None
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(self._card)
        booked = next((int(process.usedGpuMemory or 0) for process in processes if process.pid == os.getpid()), 0)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(self._card).used)
        added = used - self._others_bytes
        self._held_by_others = max(0, used - booked) if booked and len(processes) > 1 else None
        alone = len(processes) <= 1 and added >= booked
        self.shared |= not alone
        device = booked if booked and not alone else added
        self._peak_device = max(self._peak_device, device)
        return device


def return_freed_blocks(states_bytes: int) -> None:
    """Have the C library give large freed blocks back to the system, for a training on the processor whose hidden
    states take so much a micro-batch.

    By itself glibc keeps freed blocks of up to 32 MiB and cuts new ones out of them, so that a tensor a little longer
    than those before finds no room: four gsm8k rows at once took 5.5 GiB, and 2.6 GiB with this setting, for 24 % more
    processor time (135M, torch 2.11.0, glibc 2.36, 2026-11-29). With small blocks the gaps are small and the time is
    not worth it. Other C libraries have no such setting.
    """
    if states_bytes >= LARGE_BLOCKS_BYTES:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, RETURNED_BYTES)


def _throttled(card: Any) -> str | None:
    """The reason why a card slows itself down, but for its usual limit of power; None if there is none, or no card."""
    if card is None:
        return None
    with suppress(pynvml.NVMLError):
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(card)
        return next((name for bit, name in THROTTLED.items() if reasons & bit), None)
    return None


def _busy_percent(card: Any) -> int | None:
    if card is None:
        return None
    with suppress(pynvml.NVMLError):
        return int(pynvml.nvmlDeviceGetUtilizationRates(card).gpu)
    return None


def _peak_rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
