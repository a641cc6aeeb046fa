"""Several cards: the choice of those that train together, and how they are linked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from fitune.core.errors import UserError
from fitune.core.machine.check import Check
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine, pick_gpu


def pick_gpus(machine: Machine, gpu: str | None, gpus: str | int | tuple[int | str, ...]) -> tuple[Gpu, ...]:
    """The cards to train on; none for the processor. gpu, gpus: the recipe's run.gpu and run.gpus.

    Raises UserError if there are not so many, or if they can't work together.
    """
    if isinstance(gpus, tuple):
        return _able(tuple(_named(machine, str(name)) for name in gpus))
    if gpus in ("auto", 1):
        one = pick_gpu(machine, gpu)
        return (one,) if one else ()
    if gpus != "all" and machine.gpu_state == "none":  # several processes on the processor, which shows how it works
        return ()
    allowed = sorted((each for each in machine.gpus if each.allowed), key=lambda each: -(each.free_bytes or 0))
    if not allowed:
        raise UserError(f"run.gpus = {gpus!r}: no card can be used. {machine.gpu_message}", machine.gpu_hint)
    count = len(allowed) if gpus == "all" else int(gpus)
    if count > len(allowed):
        raise UserError(
            f"run.gpus = {count}: this machine has {len(allowed)} that may be used.", 'Set run.gpus = "all".'
        )
    return _able(tuple(sorted(allowed[:count], key=lambda each: each.index)))


def _named(machine: Machine, name: str) -> Gpu:
    found = pick_gpu(machine, name)
    assert found
    return found


def _able(cards: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """The cards, if they can compute together."""
    twice = [uuid for uuid, times in Counter(card.uuid for card in cards).items() if times > 1]
    if twice:
        raise UserError(f"run.gpus names the card {twice[0]} twice.", "Name each card once.")
    if len(cards) > 1 and any(card.mig for card in cards):
        raise UserError("Slices of a card (MIG) can't train together.", "Choose one: run.gpu = NUMBER or UUID.")
    return cards


@dataclass(frozen=True, slots=True)
class Link:
    """The way from one card to another."""

    first: int
    """The number that nvidia-smi shows."""
    second: int
    kind: Literal["NVLink", "PCIe", "host RAM"]
    """host RAM: the driver lets neither read the other's memory (P2P), so all goes there and back."""


READ, NVLINK = 0, 2
"""The numbers of nvmlGpuP2PCapsIndex_t in nvml.h: in nvidia-ml-py one of its names is a tuple."""


def read_links(gpus: Sequence[Gpu]) -> tuple[Link, ...]:
    """The links of all pairs of cards; none where the driver can't be asked."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = {gpu.index: pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid) for gpu in gpus if not gpu.mig}
        return tuple(Link(a, b, _kind(handles[a], handles[b])) for a, b in combinations(sorted(handles), 2))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _kind(first: object, second: object) -> Literal["NVLink", "PCIe", "host RAM"]:
    """The kind of a link. Raises NVMLError where the driver does not say."""
    import pynvml

    def can(way: int) -> bool:
        return bool(pynvml.nvmlDeviceGetP2PStatus(first, second, way) == pynvml.NVML_P2P_STATUS_OK)

    if can(NVLINK):
        return "NVLink"
    return "PCIe" if can(READ) else "host RAM"


FEW_LANES = 8
"""With fewer PCIe lanes a card waits for what the others send."""


def check_links(gpus: Sequence[Gpu], links: Sequence[Link]) -> Check:
    """Check how fast cards that train together reach each other. gpus: two or more."""
    ways = Counter(link.kind for link in links)
    said = ", ".join(f"{count} pair{'s' if count > 1 else ''} by {kind}" for kind, count in ways.items())
    narrow = [gpu.index for gpu in gpus if gpu.pcie_width and gpu.pcie_width < FEW_LANES]
    text = f"{len(gpus)} cards; linked: {said or 'not known'}"
    if narrow and "NVLink" not in ways:
        text += f"; PCIe with fewer than {FEW_LANES} lanes: card {', '.join(map(str, narrow))}"
    if "host RAM" in ways or (narrow and "NVLink" not in ways):
        fix = (
            "Training on several works (run.gpus), and is slower the more they send: give each the whole model "
            "(run.shard = false) and more rows at once. Cards of the RTX 40 line have no P2P; elsewhere see the BIOS "
            "(IOMMU, ACS) and the slots."
        )
        return Check("Links", "warn", text, fix)
    return Check("Links", "ok", text)
