"""This machine: its cards, memory, disk, drivers and packages, and their faults."""

from fitune.core.machine.attention import OLDEST_CAPABILITY, Kernel, install_sentence, missing_kernels
from fitune.core.machine.gpu import Gpu, GpuSample
from fitune.core.machine.host import CARD_FREE_SHARE, Machine, choose_backend, grows_in_place, pick_gpu, planned
from fitune.core.machine.packages import (
    add_training_stack,
    installer,
    pins,
    require_training_stack,
    requirements,
    shareable_requirement,
)
from fitune.core.machine.several import pick_gpus

__all__ = [
    "CARD_FREE_SHARE",
    "OLDEST_CAPABILITY",
    "Gpu",
    "GpuSample",
    "Kernel",
    "Machine",
    "add_training_stack",
    "choose_backend",
    "grows_in_place",
    "install_sentence",
    "installer",
    "missing_kernels",
    "pick_gpu",
    "pick_gpus",
    "pins",
    "planned",
    "require_training_stack",
    "requirements",
    "shareable_requirement",
]
