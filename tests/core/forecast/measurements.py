"""Measurements as trainings leave them in learned.jsonl: of an 8B on an L4. And forecasts at made-up sites."""

from dataclasses import replace
from typing import Any

from fitune.core.forecast import history
from fitune.core.forecast.forecast import Forecast, forecast
from fitune.core.forecast.history import NO_HISTORY, History, Measurement
from fitune.core.forecast.site import Site
from fitune.core.memory.budget import Card
from fitune.core.memory.shapes import Shape
from fitune.core.recipe.fields import Recipe
from fitune.core.tokens.lengths import TokenStats
from fitune.core.units import GIB

CARD_NAME, CARD_BYTES = "NVIDIA L4", 24 * GIB
VERSIONS: dict[str, str | None] = {"torch": "2.11.0", "unsloth": "2026.10.7", "peft": None, "textual": "8"}


def measurement(**changes: Any) -> Measurement:
    """A run that took 7 GiB, just as predicted."""
    known = Measurement(
        t=1.0, run="run-a", place=CARD_NAME, place_bytes=CARD_BYTES, stack=history.stack_of(VERSIONS),
        backend="unsloth", shared=False, predicted_bytes=7 * GIB, peak_bytes=7 * GIB, host_peak_bytes=4 * GIB,
        flops_per_token=5e10, predicted_tokens_per_s=1000.0, tokens_per_s=1000.0,
    )  # fmt: skip
    return replace(known, **changes)


def on(
    shape: Shape,
    recipe: Recipe,
    card: Card | None,
    gpu_name: str | None = None,
    ram_bytes: int | None = None,
    known: History = NO_HISTORY,
    rows: TokenStats | None = None,
    unsloth_works: bool = True,
) -> Forecast:
    """The forecast of a recipe on a card, or without one on a processor."""
    return forecast(shape, recipe, Site(card, gpu_name, ram_bytes, None, known, unsloth_works), rows)
