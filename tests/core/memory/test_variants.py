"""Ways to train other than plain QLoRA: the budget against what they took on an H200."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.variants import recipe_of
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import load

RESULTS = Path(__file__).parents[3] / "bench" / "results"
SHAPES = {
    "variants_4_layers_h200_2026-11-30.jsonl": ("meta-llama/Llama-3.2-1B-Instruct", 4, 0.985, 1.065),
    "variants_h200_2026-11-30.jsonl": ("meta-llama/Llama-3.2-1B-Instruct", 8, 0.99, 1.05),
    "variants_pairs_h200_2026-11-30.jsonl": ("meta-llama/Llama-3.1-8B-Instruct", 4, 0.99, 1.05),
}
"""The models of the files, with as many of their layers, and between which shares of the peak the budget lies. The
first were beside others on their card, where the driver books a little less on a process than it adds."""
ROWS = [
    pytest.param(file, row, id=f"{row['variant']} {row['backend']}")
    for file in SHAPES
    for row in map(json.loads, (RESULTS / file).read_text().splitlines())
    if "peak_bytes" in row
]
H200 = Card(total_bytes=150_754_820_096, free_bytes=150_000_000_000, compute_capability=(9, 0))


@pytest.mark.parametrize(("file", "row"), ROWS)
def test_a_measured_peak_is_met_and_within_the_bounds(file: str, row: dict[str, Any], tmp_path: Path) -> None:
    model, layers, least, most = SHAPES[file]
    whole = load(model)
    recipe = recipe_of(row["variant"], row["backend"], Path(model), 1024, tmp_path)
    budget = estimate(replace(whole, order=whole.order[:layers]), recipe, H200)
    assert least <= budget.total_bytes / row["peak_bytes"] <= most
    assert budget.low_bytes <= row["peak_bytes"] <= budget.high_bytes
