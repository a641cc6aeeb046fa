"""The site that a command judges a recipe for: this machine, or a card of some size that need not be here."""

import re
from pathlib import Path

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.forecast import CardsChoice, Forecast, cards_choices, forecast_on
from fitune.core.machine import Machine, planned
from fitune.core.recipe import Recipe
from fitune.core.units import GIB
from fitune.tui.text import gib

MOST_BYTES = 2**50
"""No card comes near this."""


def machine_for(gpu_memory: str | None, home: Path) -> Machine:
    """This machine, or one with an idle card of `gpu_memory`, as typed after --gpu-memory. Raises UserError."""
    if gpu_memory is not None:
        return planned(size_bytes(gpu_memory))
    from fitune.core.machine import host

    return host.detect(home / "runs")


def choices_here(recipe: Recipe, gpu_memory: str | None) -> tuple[CardsChoice, ...]:
    """One card of this machine and all together, each with its plan; none with --gpu-memory, which means one card."""
    home = runs.home(recipe.run.home)
    is_open = "quant" not in recipe.model.model_fields_set
    return () if gpu_memory is not None else cards_choices(machine_for(None, home), recipe, home, is_open)


def forecast_here(recipe: Recipe, gpu_memory: str | None) -> Forecast:
    """The forecast of a recipe on this machine, or on a card of `gpu_memory`. Raises UserError as `forecast_on`."""
    home = runs.home(recipe.run.home)
    if gpu_memory is not None and recipe.run.gpu is not None:  # which of the cards that are here is no question there
        recipe = recipe.model_copy(update={"run": recipe.run.model_copy(update={"gpu": None})})
    return forecast_on(machine_for(gpu_memory, home), recipe, home)


def named(now: Forecast) -> str:
    """The site in words: `NVIDIA L4 with 21.7 GiB free`; the name is the driver's."""
    card = now.site.card
    if card is None:
        return f"the processor, {gib(now.site.ram_bytes)} of RAM free"
    limit_gib = now.recipe.run.vram_limit_gib
    limit = f", {limit_gib:g} GiB of it to take" if limit_gib and limit_gib * GIB < card.free_bytes else ""
    several = f"each of {now.site.ranks} cards, " if now.site.ranks > 1 else ""
    return f"{several}{now.site.gpu_name} with {gib(card.free_bytes)} free{limit}"


def size_bytes(text: str) -> int:
    """ "16GiB", "16" or "16 GB" in bytes; the GB of a card are GiB. Raises UserError."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(gib|g|gb|mib|mb)?\s*", text.lower())
    unit_bytes = {"mb": 2**20, "mib": 2**20}.get(match[2] or "gib", GIB) if match else 0
    amount_bytes = float(match[1]) * unit_bytes if match else 0.0
    if not 1 <= amount_bytes <= MOST_BYTES:
        raise UserError(f"--gpu-memory: {text[:40]} is not an amount of memory.", "For example: --gpu-memory 16GiB")
    return round(amount_bytes)
