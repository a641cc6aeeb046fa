"""The budget against rows of 32k and 128k tokens on a card: bench/results/long_h200_2026-11-30.jsonl."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.score_budget import RESULTS
from bench.vram import L8, recipe_of
from fitune.core.memory import Card, estimate, shapes
from fitune.core.units import GIB

CARD = Card(140 * GIB, 120 * GIB, (9, 0))
LINES = map(json.loads, (RESULTS / "long_h200_2026-11-30.jsonl").read_text().splitlines())
ROWS = [row for row in LINES if "step_s" in row]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['layers']} layers {row['length']}")
def test_what_a_long_row_takes_is_met(row: dict[str, Any]) -> None:
    changes = {name: value for name, value in row.items() if "." in name}
    recipe = recipe_of(L8, {"train.micro_batch": 1, "train.grad_accum": 2, "model.max_seq_length": 131_072, **changes})
    whole = shapes.load(L8)
    shape = replace(whole, order=whole.order[: row["layers"]])
    said = estimate(shape, recipe, CARD, row["length"], row["length"])
    assert -0.01 < said.total_bytes / row["device"] - 1 < 0.02
    assert said.low_bytes < row["device"] < said.high_bytes
