"""Where a command judges a recipe: on this machine, or on a card of some size that need not be here."""

import re
from dataclasses import dataclass

from core.budget import Card
from core.errors import UserError
from core.learned import NONE, Experience
from core.recipe_fields import Recipe
from core.sizing.plan import GIB


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


def place(recipe: Recipe, gpu_memory: str | None) -> Place:
    """This machine, or with `gpu_memory` (as typed after --gpu-memory) an idle card of that size. Raises UserError.

    On a card that is not here the recipe's own wish for a backend stands, and auto means unsloth.
    """
    if gpu_memory:
        amount = size_bytes(gpu_memory)
        return Place(recipe, Card(amount, amount), None, None)
    from core import learned, machine, runs
    from core.resolve import card_of, resolve

    home = runs.home(recipe.run.home)
    here = machine.detect()
    resolved = resolve(recipe, here, need_data=False)
    gpu, backend = resolved.gpu, resolved.recipe.train.backend
    taught = learned.experience(home, gpu, here.cpu_name, here.versions, backend)
    return Place(resolved.recipe, card_of(gpu), gpu.name if gpu else None, here.ram_available_bytes, taught)


def size_bytes(text: str) -> int:
    """ "16GiB", "16 GB" or "16" (GiB) in bytes. Raises UserError."""
    found = re.fullmatch(r"\s*([\d.]+)\s*(gib|g|gb|mib|mb)?\s*", text.lower())
    try:
        amount = float(found[1]) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or not amount:
        raise UserError(f"--gpu-memory: {text} is not an amount of memory.", "For example: --gpu-memory 16GiB")
    return round(amount * {"gb": 10**9, "mb": 10**6, "mib": 2**20}.get(found[2] or "gib", GIB))
