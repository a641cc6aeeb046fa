"""What the run holds, by the allocator's count and by the driver's: the second is what nvidia-smi shows."""

import os
from contextlib import suppress
from typing import Any

import psutil
import pynvml
import torch


class Memory:
    """Reads a process's memory. Made before CUDA starts, so that what others hold on the card is known."""

    def __init__(self, predicted_bytes: int | None) -> None:
        self.predicted_bytes = predicted_bytes
        self._handle: Any = None
        self._peak_device = self._told = 0
        if uuid := os.environ.get("CUDA_VISIBLE_DEVICES"):
            with suppress(pynvml.NVMLError):  # a driver that will not say: those fields are then unknown
                pynvml.nvmlInit()
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        self._others = self._used_on_card() or 0

    def grew(self) -> bool:
        """Whether the peak rose by 1 % or more since the last `read`."""
        return self._peak() > self._told * 1.01

    def read(self) -> dict[str, int | None]:
        """Bytes now and at the peak: of the allocator (allocated, reserved), the card (device) and the host."""
        self._told = self._peak()
        host = psutil.Process().memory_info().rss
        if not torch.cuda.is_available():
            return {"host": host, "peak_host": _peak_rss(), "predicted": self.predicted_bytes}
        device = self._device()
        return {
            "allocated": torch.cuda.memory_allocated(),
            "reserved": torch.cuda.memory_reserved(),
            "device": device,
            "peak_allocated": torch.cuda.max_memory_allocated(),
            "peak_reserved": torch.cuda.max_memory_reserved(),
            "peak_device": self._peak_device or None,
            "host": host,
            "peak_host": _peak_rss(),
            "predicted": self.predicted_bytes,
        }

    def _peak(self) -> int:
        """The largest amount held at once. The allocator keeps what it reserved, so looking after a step is enough."""
        if not torch.cuda.is_available():
            return _peak_rss()
        self._device()
        return self._peak_device or torch.cuda.max_memory_reserved()

    def _device(self) -> int | None:
        """Bytes this process holds on the card by the driver's count; where it will not say, what came on top."""
        own = self._own_on_card()
        if own is None:
            used = self._used_on_card()
            own = used - self._others if used is not None else None
        self._peak_device = max(self._peak_device, own or 0)
        return own

    def _used_on_card(self) -> int | None:
        return int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used) if self._handle else None

    def _own_on_card(self) -> int | None:
        if not self._handle:
            return None
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
            if process.pid == os.getpid() and process.usedGpuMemory:
                return int(process.usedGpuMemory)
        return None


def _peak_rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
