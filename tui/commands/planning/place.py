"""Where a command judges a recipe: on this machine, or on a card of some size that need not be here."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fitune.core.errors import BadInput, UserError
from fitune.core.forecast import NONE, Experience
from fitune.core.memory import Budget, Card, in_ram
from fitune.core.memory.plan import GIB
from fitune.core.recipe import Recipe, problems
from fitune.tui.text import gib

if TYPE_CHECKING:
    from fitune.core.machine import Machine

MOST_BYTES = 2**50
"""No card comes near this."""


@dataclass(frozen=True, slots=True)
class Place:
    """A recipe as it would run at a place, and what is known of that."""

    recipe: Recipe
    card: Card | None
    """None is the processor."""
    gpu_name: str | None
    ram_bytes: int | None
    """Free host RAM."""
    experience: Experience = NONE
    unsloth_works: bool = True
    """Whether the card can be used with unsloth."""

    def budget(self, found: Budget) -> Budget:
        """A budget corrected by what runs taught, and judged by the free RAM where there is no card."""
        found = self.experience.budget(found)
        return found if self.card else in_ram(found, self.ram_bytes)

    @property
    def named(self) -> str:
        """`NVIDIA L4 with 21.7 GiB free`; the name is the driver's."""
        if self.card:
            limit_gib = self.recipe.run.vram_limit_gib
            limit = f", {limit_gib:g} GiB of it to take" if limit_gib and limit_gib * GIB < self.card.free_bytes else ""
            return f"{self.gpu_name or 'a card'} with {gib(self.card.free_bytes)} free{limit}"
        return f"the processor, {gib(self.ram_bytes)} of RAM free"


def place(recipe: Recipe, gpu_memory: str | None) -> Place:
    """A recipe on this machine, or with `gpu_memory` (as typed after --gpu-memory) on an idle card of that size.

    Raises UserError as `on_card` and `on_machine`.
    """
    if gpu_memory is not None:
        return on_card(recipe, size_bytes(gpu_memory))
    from fitune.core.machine import host

    return on_machine(recipe, host.detect())


def on_card(recipe: Recipe, amount_bytes: int) -> Place:
    """A recipe on an idle card that is not here: its own wish for a backend stands, and auto means unsloth.

    Raises BadInput where it contradicts itself with that.
    """
    if recipe.train.backend == "auto":
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"backend": "unsloth"})})
    if contradictions := problems(recipe):
        raise BadInput(contradictions)
    return Place(recipe, Card(amount_bytes, amount_bytes), None, None)


def on_machine(recipe: Recipe, here: "Machine") -> Place:
    """A recipe on this machine. Raises UserError as `resolve`, and for a card that hides its size."""
    from fitune.core import runs
    from fitune.core.forecast import card_of, history, resolve

    resolved = resolve(recipe, here, need_data=False)
    gpu, backend = resolved.gpu, resolved.recipe.train.backend
    if gpu and gpu.total_bytes is None:
        raise UserError(f"{gpu.name} doesn't tell how much memory it has.", "Say it: --gpu-memory 16GiB")
    taught = history.experience(runs.home(recipe.run.home), gpu, here.cpu_name, here.versions, backend)
    name = gpu.name if gpu else None
    return Place(resolved.recipe, card_of(gpu), name, here.ram_available_bytes, taught, resolved.unsloth_works)


def size_bytes(text: str) -> int:
    """ "16GiB", "16 GB" or "16" (GiB) in bytes. Raises UserError."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(gib|g|gb|mib|mb)?\s*", text.lower())
    unit_bytes = {"gb": 10**9, "mb": 10**6, "mib": 2**20}.get(found[2] or "gib", GIB) if found else 0
    amount_bytes = float(found[1]) * unit_bytes if found else 0.0
    if not 1 <= amount_bytes <= MOST_BYTES:
        raise UserError(f"--gpu-memory: {text[:40]} is not an amount of memory.", "For example: --gpu-memory 16GiB")
    return round(amount_bytes)
