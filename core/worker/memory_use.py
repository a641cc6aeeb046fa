"""What the run holds, by the allocator's count and by the driver's: the second is what fills the card."""

import os
from contextlib import suppress
from typing import Any

import psutil
import pynvml

from fitune.core.runs import Memory


class MemoryMeter:
    """Reads the memory of this process. Made before CUDA starts, so that what others hold on the GPU is known."""

    def __init__(self, gpu_uuid: str | None, predicted_bytes: int | None) -> None:
        self.predicted_bytes = predicted_bytes
        self.shared = False
        """Whether another process was seen on the card since: then what is measured says little about this one."""
        self._card: Any = None
        self._peak_device = self._told = self._others = 0
        if gpu_uuid:
            with suppress(pynvml.NVMLError):  # a driver or board that will not say: those fields are then unknown
                pynvml.nvmlInit()
                card = pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)
                self._others = int(pynvml.nvmlDeviceGetMemoryInfo(card).used)
                self._card = card

    def grew(self) -> bool:
        """Whether the peak rose by 1 % or more since the last `read`."""
        return self._peak() > self._told * 1.01

    def read(self, step: int | None = None) -> Memory:
        """The memory now and at its peak. step: the step after which it is read."""
        self._told = self._peak()
        import torch

        host = psutil.Process().memory_info().rss
        if not torch.cuda.is_available():
            return Memory(step=step, host=host, peak_host=_peak_rss(), predicted=self.predicted_bytes)
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
            predicted=self.predicted_bytes,
        )

    def _peak(self) -> int:
        """The largest amount held at once. The allocator keeps what it reserved, so looking after a step is enough."""
        import torch

        if not torch.cuda.is_available():
            return _peak_rss()
        self._device()
        return self._peak_device or torch.cuda.max_memory_reserved()

    def _device(self) -> int | None:
        """Bytes this process takes of the card. Alone on it: all that came on top, which is a little more than the
        driver books on the process; among others, or where some left since the start: what it books."""
        if not self._card:
            return None
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(self._card)
        booked = next((int(each.usedGpuMemory or 0) for each in processes if each.pid == os.getpid()), 0)
        on_top = int(pynvml.nvmlDeviceGetMemoryInfo(self._card).used) - self._others
        alone = len(processes) <= 1 and on_top >= booked
        self.shared |= not alone
        device = booked if booked and not alone else on_top
        self._peak_device = max(self._peak_device, device)
        return device


def _peak_rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
