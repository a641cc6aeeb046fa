"""The budget against the measured rows of today's families: bench/results/families_h200_*.jsonl."""

from typing import Any

import pytest

from bench.score_budget import FAMILIES, H100, RESULTS, loss_chunks, measured_rows, shape_of
from bench.vram import recipe_of
from fitune.core.memory import Budget, estimate
from fitune.core.memory.shapes import from_config
from fitune.core.units import GIB

ROWS = [row for row in measured_rows(*sorted(RESULTS.glob("families_h200_*.jsonl"))) if "reserved" in row]
RUNS = [row for row in ROWS if "device" in row]
"""Whole runs of `fitune train`, whose figure is the driver's."""


def without_context(budget: Budget) -> tuple[int, int, int]:
    """Total and bounds of what torch reserves, in bytes."""
    context = next(part.bytes for part in budget.parts if part.name == "CUDA context")
    return budget.total_bytes - context, budget.low_bytes - context, budget.high_bytes - context


def budget_of(row: dict[str, Any]) -> Budget:
    changes = {name: value for name, value in row.items() if "." in name}
    with loss_chunks(row["loss_chunk_gib"]):
        return estimate(shape_of(row["model"]), recipe_of(row["model"], changes), H100)


def test_each_row_is_of_a_family_that_is_known() -> None:
    assert {row["model"] for row in ROWS} <= set(FAMILIES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {row['train.backend']}")
def test_what_was_reserved_lies_within_the_bounds(row: dict[str, Any]) -> None:
    _, low, high = without_context(budget_of(row))
    assert low <= row["reserved"] <= high


@pytest.mark.parametrize("row", RUNS, ids=lambda row: row["model"])
def test_what_a_run_took_of_the_card_is_met(row: dict[str, Any]) -> None:
    assert -0.01 <= budget_of(row).total_bytes / row["device"] - 1 <= 0.035


@pytest.mark.parametrize(("backend", "mean"), [("trl", 0.02), ("unsloth", 0.035)])
def test_the_totals_are_met_in_the_mean(backend: str, mean: float) -> None:
    rows = [row for row in ROWS if row["train.backend"] == backend]
    errors = [without_context(budget_of(row))[0] / row["reserved"] - 1 for row in rows]
    assert sum(map(abs, errors)) / len(errors) < mean


def part(budget: Budget, name: str) -> int:
    """Bytes of a part of a budget; 0 where it has none of that name."""
    return sum(each.bytes for each in budget.parts if each.name == name)


def at_work(model: str, **values: Any) -> Budget:
    """The budget with Unsloth of a family in 4 bits, of 2 rows of 1,024 tokens. values: config values that differ."""
    recipe = recipe_of(model, {"train.micro_batch": 2, "model.max_seq_length": 1024})
    return estimate(from_config({**FAMILIES[model], **values}, model), recipe, H100)


def test_the_experts_of_a_layer_that_are_in_4_bits_have_16_bit_copies_at_once() -> None:
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    gpt_oss = at_work("gpt-oss-20b-4l", quantization_config=stored)
    assert part(gpt_oss, "dequantization") == 2 * 32 * 2880 * (5760 + 2880)
    assert 6.5 < gpt_oss.total_bytes / GIB < 7.2, "6.85 GiB with rows of up to 640 tokens (H200, 2026-11-29)"
    assert part(at_work("qwen3-30b-a3b-4l"), "dequantization") == 2 * 128 * 2048 * 2 * 768


@pytest.mark.parametrize(("words", "copies"), [(100_278, 2), (100_280, 0)])
def test_an_odd_number_of_words_has_the_first_step_try_a_padded_head(words: int, copies: int) -> None:
    trial = part(at_work("olmo-3-7b-8l", vocab_size=words), "trial of padding")
    assert trial // (2 * words * 4096) == copies
