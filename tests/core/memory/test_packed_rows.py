"""Packed rows without recomputed layers: against what trainings took on an H200, each with its own loss chunks."""

import json
from typing import Any

import pytest

from bench.score_budget import RESULTS, loss_chunks
from bench.turn_cases import LOSS_GIB
from fitune.core.memory import Budget, Card, estimate
from fitune.core.memory.shapes import load
from fitune.core.recipe import Recipe
from tests.core.memory.test_budget import recipe

H200 = Card(total_bytes=150_109_028_352, free_bytes=149_500_000_000, compute_capability=(9, 0))
LINES = [json.loads(line) for line in (RESULTS / "fast_h200_2026-11-30.jsonl").read_text().splitlines()]
ABOUT = LINES[0]["about"]
ROWS = {line["case"]: line for line in LINES[1:] if line.get("plan", {}).get("packing") is True}


def asked(row: dict[str, Any]) -> Recipe:
    """The recipe of the plan that was trained."""
    plan = {name: row["plan"][name] for name in ("micro_batch", "grad_accum", "checkpointing", "optimizer", "backend")}
    fields = {f"train__{name}": value for name, value in plan.items()}
    return recipe(data__packing=True, model__quant=row["plan"]["quant"], **fields)


def budget_of(row: dict[str, Any]) -> Budget:
    with loss_chunks(float(row.get(LOSS_GIB, ABOUT["loss_chunk_gib"]))):
        return estimate(load(row["model"]), asked(row), H200)


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_the_peak_is_met_within_one_percent_since_packed_rows_keep_no_second_copy(row: dict[str, Any]) -> None:
    budget = budget_of(row)
    assert 0 <= budget.total_bytes / row["peak_device"] - 1 <= 0.01
    assert budget.low_bytes <= row["peak_device"] <= budget.high_bytes


def test_half_as_large_chunks_of_the_loss_take_less_memory_at_the_same_pace() -> None:
    four, two = (ROWS[f"packed loss {gib}"] for gib in (4, 2))
    assert four["peak_device"] - two["peak_device"] > 0.6e9
    assert budget_of(four).total_bytes - budget_of(two).total_bytes > 0.6e9
    assert two["useful_tokens_per_s"] > 0.99 * four["useful_tokens_per_s"]
    expert = next(line for line in LINES if line.get("case") == "packed expert")
    assert two["peak_device"] < 0.95 * expert["peak_device"]
