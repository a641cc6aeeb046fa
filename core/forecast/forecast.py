"""The one forecast that every front end shows: what a recipe needs, how fast it is, and whether it will do at a site.

recipe -> budget -> correction by history -> pace -> duration -> shortages -> verdict. Nothing else puts these together.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fitune.core.forecast.cards import pace_of_all, share_of_one, with_split_decided
from fitune.core.forecast.duration import Amount, Duration, amount_of, estimate_duration
from fitune.core.forecast.history import model_of
from fitune.core.forecast.learning_rate import LearningRate, learning_rate
from fitune.core.forecast.pace import Pace, estimate_pace
from fitune.core.forecast.resolve import resolve
from fitune.core.forecast.site import Site, site_of
from fitune.core.machine import Machine
from fitune.core.memory import RUNTIME_CPU_BYTES, Budget, Shape, estimate, idle_choices, in_ram, safe_bytes, shapes
from fitune.core.recipe import Recipe
from fitune.core.tokens import TokenStats, Workload, cache, packing_note, with_packing_decided
from fitune.core.units import GIB

Verdict = Literal["fits", "tight", "over"]
Resource = Literal["memory on the card", "RAM", "host RAM", "disk"]
RAM_SHARE = 0.9
"""The share of the free host RAM that a plan may pin and still be safe."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource of which a training has too little, or too little to be safe."""

    of: Resource
    missing_bytes: int
    """Bytes that are missing to be safe, at least 1."""
    is_sure: bool
    """False: it may do, with luck."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """The needs of a recipe at a site, its pace, and the verdict."""

    shape: Shape
    recipe: Recipe
    """Resolved: nothing but packing is left open."""
    decided: Recipe
    """The same with data.packing and run.shard as they will really be."""
    site: Site
    rows: TokenStats | None
    """The recipe's rows in tokens; None counts every row as full length."""
    budget: Budget
    """Corrected by the site's history; its own verdict is of the card alone, or of the RAM on a processor."""
    pace: Pace
    """Corrected by the site's history."""
    work: Workload | None
    """The whole training in tokens; None where the rows are not known."""
    shortages: tuple[Shortage, ...]
    """Nothing where it fits. That of memory comes first."""

    @property
    def verdict(self) -> Verdict:
        """over: it can't do. tight: it may, with luck. fits: it will."""
        if any(each.is_sure for each in self.shortages):
            return "over"
        return "tight" if self.shortages else "fits"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the recipe asks for and does not get, as sentences: rows that are not packed, and why; modules and
        layers that the model does not have."""
        unpacked = packing_note(self.recipe, self.shape)
        return (*filter(None, [unpacked]), *idle_choices(self.shape, self.recipe))

    @property
    def learning_rate(self) -> LearningRate:
        """The highest learning rate of the training, with its reason."""
        return learning_rate(self.decided, self.shape, self.work)

    @property
    def duration(self) -> Duration | None:
        """The time of the whole training; None where the rows or the pace are not known."""
        return self.duration_of(amount_of(self.work)) if self.work else None

    def duration_of(self, amount: Amount) -> Duration | None:
        """The time of a training of so much work; None where the pace is not known."""
        start_s = self.site.history.start_s(self.budget.total_bytes)
        return estimate_duration(self.shape, self.decided, self.budget, self.pace, amount, start_s)

    @property
    def memory_shortage(self) -> Shortage | None:
        """The first shortage that another plan could help: of the card, or of RAM. Disk is no matter of plans."""
        return next((each for each in self.shortages if each.of != "disk"), None)


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Lengths of rows that were measured in a run itself, in tokens."""

    longest: int
    """The longest text; a row that compares two has both."""
    mean: float
    """An average row, padding included."""
    micro: int | None = None
    """Those of the largest micro-batch; None: as if each of its rows were the longest."""
    micro_batches: float | None = None
    """Micro-batches of a step on average; None: train.grad_accum."""
    pixels: int = 0
    """Values of the pixels of the images in a micro-batch, at most."""


def forecast(
    shape: Shape, recipe: Recipe, site: Site, rows: TokenStats | None = None, lengths: RowLengths | None = None
) -> Forecast:
    """The forecast of a resolved recipe at a site. Arithmetic alone: fast enough to follow keystrokes.

    rows: the recipe's rows in tokens; None counts them as full length, unless `lengths` says better. Raises UserError
    for a model or modules that can't be trained.
    """
    decided, work = with_packing_decided(recipe, rows, shape)
    if work and not lengths:
        lengths = RowLengths(work.longest, work.row_tokens, work.micro_tokens, work.micro_batches, work.pixels)
    lengths = lengths or _full_rows(decided)
    known = lengths

    def budget_of(each: Recipe) -> Budget:
        share = share_of_one(each, site.ranks)
        found = estimate(shape, share, site.card, known.longest, known.micro, known.pixels)
        return site.history.corrected_budget(found, model_of(shape))

    decided, budget = with_split_decided(decided, shape, site.ranks, budget_of)
    if site.card is None:
        budget = in_ram(budget, site.ram_bytes)
    away, parts = budget.offloaded_layers, lengths.micro_batches
    share, parts = share_of_one(decided, site.ranks), parts / site.ranks if parts else None
    of_one = site.history.corrected_pace(estimate_pace(shape, share, site.gpu_name, lengths.mean, away, parts))
    pace = pace_of_all(of_one, decided, site.ranks)
    return Forecast(shape, recipe, decided, site, rows, budget, pace, work, _shortages(decided, site, budget))


def _full_rows(recipe: Recipe) -> RowLengths:
    """The lengths where all rows are as long as the recipe allows."""
    length, train = recipe.model.max_seq_length, recipe.train
    if not train.micro_tokens:
        return RowLengths(length, train.texts * length)
    rows = min(train.micro_batch, max(1, train.micro_tokens // length))  # of a micro-batch
    return RowLengths(length, length, rows * length, train.grad_accum * math.ceil(train.micro_batch / rows))


def forecast_on(machine: Machine, recipe: Recipe, base: Path, rows: TokenStats | None = None) -> Forecast:
    """The forecast of a recipe on a machine, with the lengths of its rows where these were measured before.

    base: the folder of fitune's data. rows: the recipe's rows in tokens, if they are at hand. Raises UserError as
    `resolve`, `site_of` and `forecast`, and for a model whose shape can't be learned.
    """
    resolved = resolve(recipe, machine, need_data=False)
    site, asked = site_of(resolved, machine, base), resolved.recipe
    shape = shapes.load(asked.model.id, asked.model.revision, asked.model.trust_remote_code)
    return forecast(shape, asked, site, rows or cache.lookup(asked, base))


def host_ram_bytes(pinned_bytes: int) -> int:
    """Free host RAM with which a training on a card that pins so much (Budget.host_bytes) is safe; 0 where it pins
    nothing."""
    return round((pinned_bytes + RUNTIME_CPU_BYTES) / RAM_SHARE) if pinned_bytes else 0


def _shortages(recipe: Recipe, site: Site, budget: Budget) -> tuple[Shortage, ...]:
    found = (_memory(site, budget), _host_ram(site, budget), _disk(recipe, site, budget))
    return tuple(each for each in found if each)


def _memory(site: Site, budget: Budget) -> Shortage | None:
    """Of the card, or of RAM on a processor. Free memory that is not known limits nothing for sure."""
    if budget.verdict == "fits":
        return None
    of: Resource = "memory on the card" if site.card else "RAM"
    where = (site.gpu_name or "the card") if site.card else "the processor"
    missing = max(1, (safe_bytes(budget) if site.card else budget.high_bytes) - budget.free_bytes)
    if budget.refused:
        sentence = f'Unsloth would not load this: train.offload_layers = "auto" finds no room on {where}.'
        return Shortage(of, missing, True, sentence)
    if not budget.free_bytes:
        return Shortage(of, missing, False, "It is not known how much memory is free.")
    if budget.verdict == "over":
        sentence = f"This needs about {_gib(budget.total_bytes)}, and {where} has {_gib(budget.free_bytes)} free."
        return Shortage(of, missing, True, sentence)
    sentence = f"This may fit, with luck: to be safe, {_at_least_gib(missing)} more should be free."
    return Shortage(of, missing, False, sentence)


def _host_ram(site: Site, budget: Budget) -> Shortage | None:
    """Of the host RAM that a training on a card pins: pinned memory is never swapped out."""
    wanted_bytes = host_ram_bytes(budget.host_bytes)
    if site.card is None or site.ram_bytes is None or wanted_bytes <= site.ram_bytes:
        return None
    sentence = f"For its host RAM {_gib(wanted_bytes)} should be free, and {_gib(site.ram_bytes)} are."
    is_sure = budget.host_bytes + RUNTIME_CPU_BYTES > site.ram_bytes
    return Shortage("host RAM", wanted_bytes - site.ram_bytes, is_sure, sentence)


def _disk(recipe: Recipe, site: Site, budget: Budget) -> Shortage | None:
    """Of the disk where runs are kept. A model of the Hub may be there already: then its download is no need."""
    is_here = os.path.isdir(os.path.expanduser(recipe.model.id))
    run_bytes = budget.disk_bytes - budget.download_bytes
    wanted_bytes = run_bytes if is_here else budget.disk_bytes
    if site.disk_bytes is None or wanted_bytes <= site.disk_bytes:
        return None
    is_sure = run_bytes > site.disk_bytes
    download = "" if is_here or is_sure else ", with the download of the model,"
    sentence = f"On the disk{download} {_gib(wanted_bytes)} should be free, and {_gib(site.disk_bytes)} are."
    return Shortage("disk", wanted_bytes - site.disk_bytes, is_sure, sentence)


def _at_least_gib(amount_bytes: int) -> str:
    return f"{math.ceil(amount_bytes / GIB * 10) / 10:.1f} GiB"


def _gib(amount_bytes: int) -> str:
    return f"{amount_bytes / GIB:.1f} GiB"
