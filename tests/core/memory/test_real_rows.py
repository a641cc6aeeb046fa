"""Rows of real and of full length without recomputed layers: against what trainings took on an H200."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.score_budget import loss_chunks
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import load
from fitune.core.units import GIB
from tests.core.memory.test_budget import LLAMA_8B, name_of, recipe

RESULTS = Path(__file__).parents[3] / "bench" / "results" / "off_h200_2026-11-29.jsonl"
ROWS = [row for row in map(json.loads, RESULTS.read_text().splitlines()) if "device" in row]
H200 = Card(total_bytes=150_754_820_096, free_bytes=150_000_000_000, compute_capability=(9, 0))


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_the_budget_is_within_its_bounds(row: dict[str, Any]) -> None:
    fields = {name.replace(".", "__"): value for name, value in row.items() if "." in name}
    known = {"tokens": row["longest"], "micro_tokens": row["largest_micro_batch"]}
    is_full = row["largest_micro_batch"] == row["train.micro_batch"] * row["longest"]
    with loss_chunks():
        budget = estimate(load(row["model"]), recipe(**fields), H200, **({} if is_full else known))
    assert 0.99 <= budget.total_bytes / row["device"] <= 1.05


def test_a_smaller_micro_batch_can_take_more_for_its_loss() -> None:
    eight = recipe(train__micro_batch=8, train__grad_accum=1)
    with loss_chunks():
        whole = estimate(LLAMA_8B, eight, H200, 532, 2048)
        chunked = estimate(LLAMA_8B, eight, H200, 532, 2368)
        far_larger = estimate(LLAMA_8B, eight, H200, 532, 4256)
    assert whole.total_bytes - chunked.total_bytes < 0.01 * whole.total_bytes, "as one of 2,048 tokens comes, too"
    assert chunked.moment == "loss"
    assert far_larger.total_bytes < chunked.total_bytes, "all are then too large for one chunk"


def test_smaller_loss_chunks_make_the_fastest_plan_for_an_8b_smaller() -> None:
    """What 8 rows of GSM8K take without recomputed layers: with chunks as Unsloth has them 13.96 GiB (H200)."""
    plan = recipe(train__micro_batch=8, train__grad_accum=1, train__checkpointing="off", train__backend="unsloth")
    with loss_chunks():
        before = estimate(LLAMA_8B, plan, H200, 532, 2040)
    after = estimate(LLAMA_8B, plan, H200, 532, 2040)
    assert before.total_bytes - after.total_bytes > 0.7 * GIB
