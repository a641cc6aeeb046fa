"""Images in the budget: the tower's pass is a moment of its own, and their pixels stay for the whole step."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bench.score_budget import RESULTS
from bench.seeing_models import sizes_of
from fitune.core.memory import shapes
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes.tower import tower_work
from fitune.core.recipe.load import Recipe
from fitune.core.units import GIB

ROWS = RESULTS / "vision_h200_2026-11-30.jsonl"
MEASURED = [
    each for each in map(json.loads, ROWS.read_text().splitlines()) if "peak_bytes" in each and each["backend"] == "trl"
]
CARD = Card(80 * GIB, 79 * GIB)


def test_pixels_add_to_each_moment_of_a_step(recipe: Callable[..., Recipe]) -> None:
    asked = recipe(model={"id": "Qwen/Qwen3-VL-4B-Instruct"}, train={"micro_batch": 2, "backend": "trl"})
    shape = shapes.load(asked.model.id)
    without, few, many = (estimate(shape, asked, CARD, 600, pixels=pixels) for pixels in (0, 10**7, 4 * 10**9))
    assert few.moment == without.moment
    assert 5 * 10**7 < few.total_bytes - without.total_bytes < 8 * 10**7
    assert many.moment == "images"
    assert "image tower at work" in {part.name for part in many.parts}


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row["family"])
def test_images_take_what_the_budget_says(recipe: Callable[..., Recipe], row: dict[str, Any]) -> None:
    asked = recipe(
        model={"id": row["family"], "max_seq_length": 4096},
        train={"backend": "trl", "micro_batch": 2, "grad_accum": 1, "checkpointing": "on"},
    )
    shape = shapes.from_config(sizes_of(row["family"]), row["family"])
    card = Card(140 * GIB, 100 * GIB, (9, 0))
    said = estimate(shape, asked, card, row["longest"], row["micro_tokens"], row["pixels"]).total_bytes
    assert -0.01 < said / row["peak_bytes"] - 1 < 0.05


def test_the_work_of_a_tower_is_that_of_its_config() -> None:
    vision: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "patch_size": 16}
    assert tower_work({"vision_config": vision}) == (6 * 1024 + 3 * 4096) / (3 * 16 * 16)
    assert tower_work({"vision_config": {**vision, "temporal_patch_size": 2}}) == (6 * 1024 + 3 * 4096) / (6 * 16 * 16)
    assert tower_work({"vision_config": {"embed_dim": 1280, "patch_size": 14}}) == (6 + 12) * 1280 / (3 * 14 * 14)
    for nothing in ({}, {"vision_config": None}, {"vision_config": {"hidden_size": 1024}}):
        assert tower_work(nothing) == 0
