"""The cards that an entry of the queue may take now; a machine without any counts as one, its processor."""

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import psutil

from fitune.core import jobs, runs
from fitune.core.machine import CARD_FREE_SHARE, Gpu, Machine, pick_gpus
from fitune.core.recipe import Recipe, changed

PROCESSOR = "cpu"
"""Stands for the processor among the ids of cards."""
IDLE_S = 60.0
"""A card is idle once it was at each look for so long: the script of someone else may be between two programs."""
IDLE_FREE_SHARE = 0.9
"""Of an idle card's memory so much is free at least: a desktop, or a program that does nothing, holds the rest."""
IDLE_PERCENT = 10
"""An idle card or processor computes at most in this share of the time."""


def taken_cards() -> set[str]:
    """The ids of the cards on which a training works."""
    return {card for _, cards in jobs.at_work(runs.home()) for card in ([each.uuid for each in cards] or [PROCESSOR])}


def when_free(machine: Machine, all_of_it: bool) -> Machine:
    """The machine as it will be when the trainings at work have ended: for the budget of a recipe that waits for them.

    all_of_it: others will have left its cards, too.
    """
    taken = taken_cards()
    workers = [run.holder_pid() or 0 for run, _ in jobs.at_work(runs.home())]
    held_bytes = sum(_memory_bytes(pid) for pid in workers if pid > 0)
    available = machine.ram_available_bytes
    return replace(
        machine,
        gpus=tuple(_emptied(gpu) if all_of_it or gpu.uuid in taken else gpu for gpu in machine.gpus),
        ram_available_bytes=None if available is None else available + held_bytes,
    )


def _emptied(gpu: Gpu) -> Gpu:
    """A card as it is when nobody uses it."""
    if gpu.total_bytes is None:
        return gpu
    free = max(gpu.free_bytes or 0, round(gpu.total_bytes * CARD_FREE_SHARE))
    return replace(gpu, free_bytes=free, used_bytes=gpu.total_bytes - free, processes=())


def _memory_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0


@dataclass(slots=True)
class Idleness:
    """When each card was last seen at work for others."""

    seen_busy: dict[str, float] = field(default_factory=dict)
    """By the id of a card: seconds of the monotonic clock at the last look at which it was busy, or at the first."""

    def look(self, machine: Machine, taken: Collection[str]) -> None:
        """Look at all cards that no training of ours holds."""
        now = time.monotonic()
        busy = {gpu.uuid: is_busy(gpu) for gpu in machine.gpus} or {PROCESSOR: is_processor_busy(machine)}
        for card, at_work in busy.items():
            if card not in taken and (at_work or card not in self.seen_busy):
                self.seen_busy[card] = now

    def all_idle(self, cards: Collection[str]) -> bool:
        """True if these cards were idle at each look for IDLE_S."""
        now = time.monotonic()
        return all(now - self.seen_busy.get(card, now) >= IDLE_S for card in cards)


def is_busy(gpu: Gpu) -> bool:
    """True if others compute on a card, or hold its memory; what it does not tell is no sign of them."""
    free, total = gpu.free_bytes, gpu.total_bytes
    is_full = free is not None and total is not None and free < IDLE_FREE_SHARE * total
    return is_full or (gpu.utilisation_percent or 0) > IDLE_PERCENT


def is_processor_busy(machine: Machine) -> bool:
    """True if more runs on the processor than an idle one has, on average over the last minute."""
    return 100 * os.getloadavg()[0] > IDLE_PERCENT * (machine.cpu_cores or 1)


def choose(recipe: Recipe, machine: Machine, taken: set[str]) -> tuple[str, ...] | None:
    """The ids of the cards that a recipe can have now, beside those that are taken; None while it must wait.

    A recipe that waits has the cards that it names, or else all, added to `taken`: none behind it in the queue gets
    them first. Raises UserError if this machine does not have such cards.
    """
    wanted = pick_gpus(machine, recipe.run.gpu, recipe.run.gpus)
    if not wanted:
        return None if PROCESSOR in taken else (PROCESSOR,)
    by_name = recipe.run.gpu is not None or isinstance(recipe.run.gpus, tuple)
    free = [gpu for gpu in (wanted if by_name else machine.gpus) if gpu.allowed and gpu.uuid not in taken]
    if len(free) < len(wanted):
        taken |= {gpu.uuid for gpu in (wanted if by_name else machine.gpus)}
        return None
    return tuple(gpu.uuid for gpu in pick_gpus(replace(machine, gpus=tuple(free)), None, len(wanted)))


def on_cards(recipe: Recipe, cards: tuple[str, ...], machine: Machine) -> Recipe:
    """The recipe with its cards by their ids, where the machine has others that it might take instead."""
    if len(machine.gpus) < 2 or cards == (PROCESSOR,):
        return recipe
    return changed(recipe, {"run.gpu": cards[0]} if len(cards) == 1 else {"run.gpus": cards})
