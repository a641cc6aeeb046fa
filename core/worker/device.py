"""The device: the type to compute in (bf16, fp16 or fp32), and where a job other than training runs.

That is the card if it is idle and large enough, else the CPU.
"""

from dataclasses import dataclass

from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.core.machine import host
from fitune.core.runs import Run

MARGIN_BYTES = 2 * 10**9
"""CUDA's context and other memory beside the weights."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of PyTorch, its name and its free memory."""

    device: str
    name: str
    free_bytes: int


def devices(run: Run) -> list[Device]:
    """The devices that this process may use, the fastest first. A card on which a run trains is not one of them."""
    import torch

    usable = [Device("cpu", "cpu", host.detect().ram_available_bytes or 0)]
    if torch.cuda.is_available() and not _busy(run):
        free_bytes = torch.cuda.mem_get_info()[0]
        if free_bytes > MARGIN_BYTES:
            usable.insert(0, Device("cuda", torch.cuda.get_device_name(), free_bytes))
    return usable


def _busy(run: Run) -> bool:
    try:
        jobs.refuse_busy_gpu(run)
    except UserError:
        return True
    return False


def compute_dtype() -> str:
    """The fast type of this machine: bf16 from compute capability 8.0 on, fp16 below, fp32 on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
