"""This machine: its cards, memory, disk and drivers, and their faults."""

from fitune.core.machine.gpu import Gpu, GpuSample
from fitune.core.machine.host import Machine, choose_backend, grows_in_place, pick_gpu, planned

__all__ = ["Gpu", "GpuSample", "Machine", "choose_backend", "grows_in_place", "pick_gpu", "planned"]
