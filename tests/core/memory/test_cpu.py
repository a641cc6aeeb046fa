"""The budget of a training on the processor, against trainings that were measured (bench/cpu_memory.py)."""

import json
from pathlib import Path
from typing import Any

from fitune.core.memory import in_ram
from fitune.core.memory.budget import Budget, estimate
from fitune.core.memory.shapes import load
from fitune.core.units import GIB
from tests.core.memory.test_budget import LLAMA_8B, part, recipe

RESULTS = sorted((Path(__file__).parents[3] / "bench" / "results").glob("cpu_*.jsonl"))
MODEL = load("HuggingFaceTB/SmolLM2-135M-Instruct")


def measured_rows() -> list[dict[str, Any]]:
    """The trainings on rows of full length that found their model made; of those in which the C library kept large
    blocks only such with small blocks, as the worker has it."""
    found, returned = [], False
    for line in (json.loads(line) for file in RESULTS for line in file.read_text().splitlines()):
        if "about" in line:
            returned = line["about"]["large_blocks"] != "kept"
        elif not line["rows"] and "made_the_model" not in line:
            states_bytes = 4 * line["train.micro_batch"] * line["model.max_seq_length"] * MODEL.hidden
            found += [line] if returned or states_bytes < 2 << 20 else []
    return found


def budget_of(row: dict[str, Any]) -> Budget:
    changes = {name.replace(".", "__"): value for name, value in row.items() if "." in name}
    fixed: dict[str, Any] = {"model__quant": "bf16", "data__packing": False, "train__backend": "trl"}
    plain = {"train__checkpointing": "on", "train__optimizer": "adamw_torch", "train__grad_accum": 1}
    return estimate(MODEL, recipe(**{**fixed, **plain, **changes}), None)


def test_a_measured_peak_is_met_within_ten_percent() -> None:
    found = [budget_of(row).total_bytes / row["peak"] - 1 for row in measured_rows()]
    assert len(found) >= 23
    assert max(map(abs, found)) <= 0.10
    assert sum(map(abs, found)) / len(found) < 0.05


def test_the_bounds_hold() -> None:
    for row in measured_rows():
        budget = budget_of(row)
        assert budget.low_bytes <= row["peak"] <= budget.high_bytes


def test_a_model_is_read_beside_its_weights() -> None:
    short = recipe(
        model__quant="bf16", model__max_seq_length=64, train__micro_batch=1, train__backend="trl",
        train__checkpointing="on", train__optimizer="adamw_torch",
    )  # fmt: skip
    budget = estimate(LLAMA_8B, short, None)
    assert budget.moment == "load"
    assert part(budget, "loading") == 2 * LLAMA_8B.params
    assert budget.low_bytes <= budget.total_bytes - 2 * LLAMA_8B.params, "its pages can be taken back"
    assert in_ram(budget, 10 * GIB).verdict == "over"
