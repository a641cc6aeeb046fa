"""The place where a recipe would run: card or processor, free host RAM and disk, and what was measured there before."""

from dataclasses import dataclass, replace
from pathlib import Path

from fitune.core.errors import UserError
from fitune.core.forecast.history import NO_HISTORY, History, history_of
from fitune.core.forecast.resolve import Resolved
from fitune.core.machine import Gpu, Machine, grows_in_place
from fitune.core.memory import Card


@dataclass(frozen=True, slots=True)
class Site:
    """A machine as a forecast sees it. None is unknown, and limits nothing."""

    card: Card | None = None
    """The card to train on; None is the processor."""
    gpu_name: str | None = None
    """The card's name, as its driver gives it."""
    ram_bytes: int | None = None
    """Free host RAM."""
    disk_bytes: int | None = None
    """Free disk where runs are kept."""
    history: History = NO_HISTORY
    """Earlier trainings on this card, with the same versions and backend."""
    unsloth_works: bool = True
    """Unsloth can be used on the card."""
    ranks: int = 1
    """Processes that train together, one a card: they share the micro-batches of a step."""


def site_of(resolved: Resolved, machine: Machine, base: Path) -> Site:
    """The site of a resolved recipe on a machine. base: the folder of fitune's data, where the history is kept.

    Raises UserError for a card that does not say how much memory it has, and for a history that can't be read.
    """
    # Each of several cards takes as much, so the smallest decides.
    gpu = min(resolved.gpus, key=lambda each: each.free_bytes or each.total_bytes or 0, default=None)
    found = card_of(gpu)
    card = replace(found, ranks=resolved.ranks) if found else None
    if gpu and card is None:
        raise UserError(f"{gpu.name} doesn't tell how much memory it has.", "Say it: --gpu-memory 16GiB")
    return Site(
        card=card,
        gpu_name=gpu.name if gpu else None,
        ram_bytes=machine.ram_available_bytes,
        disk_bytes=machine.disk_free_bytes,
        history=history_of(base, gpu, machine.cpu_name, machine.versions, resolved.recipe.train.backend),
        unsloth_works=resolved.unsloth_works,
        ranks=resolved.ranks,
    )


def card_of(gpu: Gpu | None) -> Card | None:
    """The facts of a card that a budget needs; None on a CPU, or where the card won't tell its size."""
    if gpu is None or gpu.total_bytes is None:
        return None
    free_bytes = gpu.total_bytes if gpu.free_bytes is None else gpu.free_bytes
    return Card(gpu.total_bytes, free_bytes, gpu.compute_capability, grows_in_place())
