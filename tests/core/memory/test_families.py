"""The budget against the measured rows of today's families: bench/results/families_h200_*.jsonl."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.score_budget import FAMILIES, H100, RESULTS, loss_chunks, measured_rows, shape_of
from bench.vram import recipe_of
from fitune.core.memory import Budget, estimate
from fitune.core.memory.shapes import from_config, load
from fitune.core.recipe import changed, presets
from fitune.core.units import GIB, MIB

ROWS = [row for row in measured_rows(*sorted(RESULTS.glob("families_h200_*.jsonl"))) if "reserved" in row]
RUNS = [row for row in ROWS if "resumed" in row]
"""Whole runs of `fitune train`, whose figure is the driver's."""
MANY = [row for row in ROWS if "free" in row]
"""Rows of bench/families.py, with the driver's figure."""
OUTSIDE = {
    ("cohere2", "unsloth"), ("gemma3_text", "unsloth"), ("gpt_oss", "unsloth"), ("granitemoehybrid", "trl"),
    ("granitemoehybrid", "unsloth"), ("lfm2_moe", "trl"), ("phi3", "trl"), ("qwen2_5_vl", "unsloth"),
    ("qwen3_5_moe", "trl"), ("qwen3_moe", "unsloth"), ("smollm3", "unsloth"),
}  # fmt: skip
"""Kinds of which a row lies 1 % above what is told, or 5 % below."""


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


@pytest.mark.parametrize(("backend", "mean"), [("trl", 0.02), ("unsloth", 0.025)])
def test_the_totals_are_met_in_the_mean(backend: str, mean: float) -> None:
    rows = [row for row in ROWS if row["train.backend"] == backend]
    errors = [without_context(budget_of(row))[0] / row["reserved"] - 1 for row in rows]
    assert sum(map(abs, errors)) / len(errors) < mean


def error(row: dict[str, Any]) -> float:
    """The share by which more is told than was taken."""
    taken: int = row["device"]
    return budget_of(row).total_bytes / taken - 1


@pytest.mark.parametrize(("backend", "mean"), [("trl", 0.014), ("unsloth", 0.016)])
def test_what_the_driver_booked_is_met_in_the_mean(backend: str, mean: float) -> None:
    errors = [error(row) for row in MANY if row["train.backend"] == backend]
    assert len(errors) > 60
    assert sum(map(abs, errors)) / len(errors) < mean


def test_most_of_what_the_driver_booked_is_met_from_1_percent_under_to_5_over() -> None:
    outside = [row for row in MANY if not -0.01 <= error(row) <= 0.05]
    assert len(outside) <= 18
    assert {(shape_of(row["model"]).model_type, row["train.backend"]) for row in outside} <= OUTSIDE
    assert all(-0.07 < error(row) < 0.065 for row in outside)


@pytest.mark.parametrize("row", MANY, ids=lambda row: f"{row['model']} {row['train.backend']}")
def test_what_the_driver_booked_lies_within_the_bounds(row: dict[str, Any]) -> None:
    budget = budget_of(row)
    assert budget.low_bytes <= row["device"] <= budget.high_bytes


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


@pytest.mark.parametrize("model", ["run-ministral-3-8b-8l", "qwen3-vl-4b-8l", "smollm3-3b-18l"])
def test_one_row_and_several_end_to_end_are_met_by_what_torch_allocates_with_unsloth(model: str) -> None:
    rows = [row for row in MANY if row["model"] == model and row["train.backend"] == "unsloth"]
    rows = [row for row in rows if row.get("train.checkpointing") != "off" and "train.grad_accum" not in row]
    for row in rows:
        budget = budget_of(row)
        told = without_context(budget)[0] - part(budget, "allocator slack")
        assert abs(told / row["allocated"] - 1) < 0.03
    assert len(rows) >= 3


@pytest.mark.parametrize("model", ["phi-4-mini-8l", "run-granite-4-micro-8l", "glm-4-9b-4l"])
def test_joint_matrices_are_met_by_what_torch_allocates_with_trl(model: str) -> None:
    rows = [row for row in MANY if row["model"] == model and row.get("train.checkpointing") == "on"]
    for row in rows:
        budget = budget_of(row)
        told = without_context(budget)[0] - part(budget, "allocator slack")
        assert abs(told - row["allocated"]) < 10 * MIB
    assert len(rows) == 3


WHOLE = list(map(json.loads, (RESULTS / "whole_h200_2026-11-30.jsonl").read_text().splitlines()))


def stage(model: str, name: str) -> dict[str, Any]:
    """The line of a stage of a whole run."""
    return next(line for line in WHOLE if line.get("model") == model and line["stage"] == name)


@pytest.mark.parametrize("model", ["google/gemma-4-E4B-it", "mistralai/Ministral-3-8B-Base-2512"])
def test_a_calibration_foretells_a_training_of_a_whole_model_to_the_byte(model: str) -> None:
    assert stage(model, "calibrate")["said"] == stage(model, "train")["device"]


@pytest.mark.parametrize(
    ("model", "measured"),
    [("google/gemma-4-E4B-it", "train"), ("Qwen/Qwen3.5-9B", "calibrate"), ("run-gpt-oss-20b-nf4-4l", "train")],
)
def test_what_was_told_of_a_model_before_it_was_known_is_met(model: str, measured: str) -> None:
    found = stage(model, measured)
    taken = found.get("device") or found["said"]
    assert -0.01 <= stage(model, "estimate")["said"] / taken - 1 <= 0.02


TODAY = [json.loads(line) for line in (RESULTS / "presets_h200_2026-12-01.jsonl").read_text().splitlines()[1:]]
"""Whole models of this year, as the presets train them."""


@pytest.mark.parametrize("row", TODAY, ids=lambda row: row["preset"])
def test_what_a_preset_of_this_year_took_is_met(row: dict[str, Any]) -> None:
    changes = {"data.source": "-", "data.eval_fraction": 0, "data.packing": False}
    recipe = changed(presets.find(row["preset"]).recipe("-"), changes)
    auto = {"train.backend": "unsloth" if row["predicted_host"] else "trl"}
    assert -0.01 <= estimate(load(row["model"]), changed(recipe, auto), H100).total_bytes / row["device"] - 1 <= 0.025


def test_what_the_whole_gpt_oss_took_is_met() -> None:
    found = map(json.loads, (RESULTS / "whole_h200_2026-12-01.jsonl").read_text().splitlines())
    taken = next(line["device"] for line in found if line.get("stage") == "train")
    model = "whole-gpt-oss-20b-nf4"
    recipe = recipe_of(model, {"train.micro_batch": 1, "train.grad_accum": 2, "model.max_seq_length": 1024})
    assert -0.01 <= estimate(shape_of(model), recipe, H100).total_bytes / taken - 1 <= 0.01


MASKED = {"train.backend": "trl", "train.checkpointing": "on", "train.micro_batch": 1}


def mask_of(model: str, length: int, rows: int = 1, tokens: int | None = None) -> int:
    """Bytes of the attention mask of rows of a length."""
    recipe = recipe_of(model, {**MASKED, "train.micro_batch": rows, "model.max_seq_length": length})
    many = None if tokens is None else rows * tokens
    return part(estimate(shape_of(model), recipe, H100, tokens, many), "attention mask")


def test_rows_beyond_a_window_have_a_mask_that_grows_with_the_square_of_their_length() -> None:
    assert mask_of("gemma-3-4b-8l", 1023) == 0
    assert mask_of("gemma-3-4b-8l", 4096) == 3 * 4096**2
    assert mask_of("gemma-3-4b-8l", 32_768) == 3 * 32_768**2
    assert mask_of("llama-3.1-8b-4l", 32_768) == 0


def test_rows_that_are_padded_have_a_mask_in_any_model() -> None:
    assert mask_of("llama-3.1-8b-4l", 4096, rows=4, tokens=2000) == 3 * 4 * 2000**2
    assert mask_of("llama-3.1-8b-4l", 4096, rows=1, tokens=2000) == 0


@pytest.mark.parametrize(
    ("model", "checkpointing", "tokens", "most_mib"),
    [("command-r7b-4l", "on", 4096, 5), ("phi-4-mini-8l", "off", 2048, 30), ("run-gemma-4-e4b-12l", "off", 2048, 30)],
)
def test_what_torch_allocated_for_keys_and_values_is_met(
    model: str, checkpointing: str, tokens: int, most_mib: int
) -> None:
    row = next(
        each for each in MANY
        if (each["model"], each["train.backend"], each.get("train.checkpointing")) == (model, "trl", checkpointing)
        and each["train.micro_batch"] * each["model.max_seq_length"] == tokens
    )  # fmt: skip
    budget = budget_of(row)
    said = budget.total_bytes - part(budget, "allocator slack") - part(budget, "CUDA context")
    assert abs(said - row["allocated"]) < most_mib * MIB


def test_padded_rows_have_keys_and_values_copied_for_each_head() -> None:
    own = {**MASKED, "train.checkpointing": "off", "train.micro_batch": 4, "model.max_seq_length": 2048}
    shape, recipe = shape_of("llama-3.1-8b-4l"), recipe_of("llama-3.1-8b-4l", own)
    full, padded = (estimate(shape, recipe, H100, 2000, tokens) for tokens in (None, 4 * 2000))
    copied = 2 * 2 * (4096 - 1024)  # bytes a token and layer: keys and values of 1,024, as wide as queries of 4,096
    assert part(padded, "activations kept") - part(full, "activations kept") == 4 * 2000 * 4 * copied


def test_a_table_of_places_keeps_queries_and_keys_that_were_cut_out() -> None:
    shape = shape_of("phi-4-mini-8l")
    recipe = recipe_of("phi-4-mini-8l", {**MASKED, "train.checkpointing": "off", "model.max_seq_length": 1024})
    turned, looked_up = (estimate(each, recipe, H100) for each in (shape, replace(shape, positions=4096)))
    assert part(turned, "activations kept") - part(looked_up, "activations kept") == 1024 * 8 * 2 * (3072 + 1024)


@pytest.mark.parametrize(("words", "copies"), [(100_278, 2), (100_280, 0)])
def test_an_odd_number_of_words_has_the_first_step_try_a_padded_head(words: int, copies: int) -> None:
    trial = part(at_work("olmo-3-7b-8l", vocab_size=words), "trial of padding")
    assert trial // (2 * words * 4096) == copies
