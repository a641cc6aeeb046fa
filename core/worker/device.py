"""Where a job other than training computes: on the card if it is idle and large enough, else on the CPU."""

from dataclasses import dataclass

from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.core.machine import host
from fitune.core.runs import Run

MARGIN_BYTES = 2 * 10**9
"""CUDA's context and what lies beside the weights."""


@dataclass(frozen=True, slots=True)
class Place:
    """A device of PyTorch, and what to call it."""

    device: str
    name: str
    free_bytes: int


def places(run: Run) -> list[Place]:
    """Where this process may compute, the fastest first. A card on which a run trains is left to it."""
    import torch

    found = [Place("cpu", "cpu", host.detect().ram_available_bytes or 0)]
    if torch.cuda.is_available() and not _busy(run):
        free_bytes = torch.cuda.mem_get_info()[0]
        if free_bytes > MARGIN_BYTES:
            found.insert(0, Place("cuda", torch.cuda.get_device_name(), free_bytes))
    return found


def _busy(run: Run) -> bool:
    try:
        jobs.refuse_busy_gpu(run)
    except UserError:
        return True
    return False
