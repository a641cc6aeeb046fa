"""The budget against the measured rows of today's families: bench/results/families_h200_2026-11-29.jsonl."""

import json
from typing import Any

import pytest

from bench.score_budget import FAMILIES, H100, RESULTS, shape_of
from bench.vram import recipe_of
from fitune.core.memory import Budget, estimate

LINES = (RESULTS / "families_h200_2026-11-29.jsonl").read_text().splitlines()
ROWS = [row for row in map(json.loads, LINES) if "reserved" in row]
COMPILING, COMPILING_BYTES = "olmo-3-7b-8l", 3 * 2**29
"""The one row whose first step, which compiles, took as much memory as the next one with four times the tokens."""


def without_context(budget: Budget) -> tuple[int, int, int]:
    """Total and bounds of what torch reserves, in bytes."""
    context = next(part.bytes for part in budget.parts if part.name == "CUDA context")
    return budget.total_bytes - context, budget.low_bytes - context, budget.high_bytes - context


def budget_of(row: dict[str, Any]) -> Budget:
    changes = {name: value for name, value in row.items() if "." in name}
    return estimate(shape_of(row["model"]), recipe_of(row["model"], changes), H100)


def test_there_are_rows_of_each_family() -> None:
    assert {row["model"] for row in ROWS} == set(FAMILIES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {row['train.backend']}")
def test_what_was_reserved_lies_within_the_bounds(row: dict[str, Any]) -> None:
    _, low, high = without_context(budget_of(row))
    if row["model"] == COMPILING and row["model.max_seq_length"] == 1024:
        high += COMPILING_BYTES
    assert low <= row["reserved"] <= high


@pytest.mark.parametrize(("backend", "mean"), [("trl", 0.02), ("unsloth", 0.045)])
def test_the_totals_are_met_in_the_mean(backend: str, mean: float) -> None:
    rows = [row for row in ROWS if row["train.backend"] == backend]
    errors = [without_context(budget_of(row))[0] / row["reserved"] - 1 for row in rows]
    assert sum(map(abs, errors)) / len(errors) < mean
