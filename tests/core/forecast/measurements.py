"""Lessons as trainings leave them in learned.jsonl: of an 8B on an L4."""

from dataclasses import replace
from typing import Any

from fitune.core.forecast import history
from fitune.core.forecast.history import Lesson

GIB = 1 << 30
CARD_NAME, CARD_BYTES = "NVIDIA L4", 24 * GIB
VERSIONS: dict[str, str | None] = {"torch": "2.11.0", "unsloth": "2026.10.7", "peft": None, "textual": "8"}


def lesson(**changes: Any) -> Lesson:
    """A run that took 7 GiB, just as predicted."""
    known = Lesson(
        t=1.0, run="run-a", place=CARD_NAME, place_bytes=CARD_BYTES, stack=history.stack_of(VERSIONS),
        backend="unsloth", shared=False, predicted_bytes=7 * GIB, peak_bytes=7 * GIB, host_peak_bytes=4 * GIB,
        flops_per_token=5e10, predicted_tokens_per_s=1000.0, tokens_per_s=1000.0,
    )  # fmt: skip
    return replace(known, **changes)
