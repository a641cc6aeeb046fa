"""What a training goes through, by hand for a few rows; with and without padding, packing and held-out rows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.forecast.resolve import Resolved
from fitune.core.jobs import training
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine
from fitune.core.memory import shapes
from fitune.core.recipe.load import Recipe
from fitune.core.tokens.lengths import TokenStats
from fitune.core.tokens.workload import with_packing_decided, workload
from fitune.core.units import GIB
from tests.core.tokens.token_rows import prepared

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def rows_of(*sizes: int) -> TokenStats:
    """Rows whose second half is trained."""
    return prepared((size, [(size // 2, size)]) for size in sizes)


def test_unsloth_lays_rows_behind_each_other_and_trl_pads_them(recipe: Callable[..., Recipe]) -> None:
    rows, none_held_out = rows_of(*[10, 20] * 50), {"eval_fraction": 0.0, "packing": False}
    train = {"micro_batch": 2, "grad_accum": 5, "epochs": 2.0, "backend": "unsloth"}
    lean = workload(rows, recipe(data=none_held_out, train=train), None)
    assert (lean.row_tokens, lean.tokens, lean.trained_tokens) == pytest.approx((15, 3000, 1500))
    assert (lean.longest, lean.packing.steps) == (20, 20)
    trl = {**train, "backend": "trl", "checkpointing": "on"}
    padded = workload(rows, recipe(data=none_held_out, train=trl), None)
    assert (padded.row_tokens, padded.tokens, padded.trained_tokens) == pytest.approx((17.5, 3500, 1500))


@pytest.mark.parametrize("model", ["LiquidAI/LFM2.5-1.2B-Instruct", "unsloth/gpt-oss-20b-BF16"])
def test_unsloth_pads_rows_that_a_model_would_not_keep_apart(recipe: Callable[..., Recipe], model: str) -> None:
    """On an H200 their batches were padded (bench/results/families_h200_2026-11-30b.jsonl, padding_free)."""
    rows = rows_of(*[10, 20] * 50)
    asked = recipe(data={"eval_fraction": 0.0, "packing": False}, train={"micro_batch": 2, "backend": "unsloth"})
    found = workload(rows, asked, shapes.load(model))
    assert (found.row_tokens, found.micro_tokens) == pytest.approx((17.5, 40))
    assert workload(rows, asked, shapes.load(LLAMA)).row_tokens == pytest.approx(15)


def test_packed_rows_are_fewer_and_full(recipe: Callable[..., Recipe]) -> None:
    asked = recipe(
        model={"max_seq_length": 100},
        data={"eval_fraction": 0.0, "packing": True},
        train={"backend": "unsloth", "micro_batch": 1},
    )
    rows = rows_of(*[25] * 4000)
    work = workload(rows, asked, None)
    assert (work.packing.packed, work.row_tokens, work.packing.steps) == (True, 100, 250)
    assert work.tokens == pytest.approx(100_000)
    open_ended = recipe(model={"max_seq_length": 100}, train={"backend": "unsloth", "micro_batch": 1})
    assert with_packing_decided(open_ended, rows, shapes.load(LLAMA))[0].data.packing is False
    assert open_ended.data.packing == "auto"


def test_held_out_rows_and_rows_without_an_answer_left_are_not_trained(recipe: Callable[..., Recipe]) -> None:
    asked = recipe(
        model={"max_seq_length": 32},
        data={"eval_fraction": 0.5, "packing": False},
        train={"backend": "unsloth", "micro_batch": 1, "grad_accum": 1, "epochs": 1000.0},
    )
    work = workload(rows_of(*[20] * 100, *[80] * 100), asked, None)  # the long ones begin their answer at 40
    assert (work.packing.rows, work.packing.steps, work.longest) == (50, 50_000, 32)
    assert work.tokens == pytest.approx(1000 * 50 * 20)


def test_max_steps_decides_over_epochs(recipe: Callable[..., Recipe]) -> None:
    train = {"backend": "unsloth", "micro_batch": 2, "grad_accum": 3, "max_steps": 7}
    work = workload(rows_of(*[10] * 1000), recipe(data={"packing": False}, train=train), None)
    assert work.packing.steps == 7
    assert work.tokens == pytest.approx(420)


def test_a_run_is_refused_for_what_its_rows_need_not_for_rows_that_never_come(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    asked = recipe(
        model={"id": "unsloth/Llama-3.1-8B-Instruct", "max_seq_length": 8192},
        train={"backend": "unsloth", "micro_batch": 8, "grad_accum": 1},
    )
    gpu = Gpu(0, "GPU-1", "NVIDIA L4", 12 * GIB, 11 * GIB, GIB, compute_capability=(8, 9))
    here = Resolved(asked, (gpu,) if gpu else (), 1, "", (), unsloth_works=True)
    full, true = (training.foresee(here, Machine(), tmp_path, rows) for rows in (None, rows_of(*[100] * 50)))
    assert full is not None
    assert true is not None
    assert (full.verdict, true.verdict) == ("over", "fits")


def test_a_split_by_tokens_bounds_the_largest_micro_batch_and_is_counted(recipe: Callable[..., Recipe]) -> None:
    train = {"micro_batch": 10, "grad_accum": 2, "backend": "unsloth"}
    rows = rows_of(*[100] * 900, *[1000] * 100)
    none_held_out = {"eval_fraction": 0.0, "packing": False}
    whole, split = (
        workload(rows, recipe(data=none_held_out, train={**train, "micro_tokens": most}), None) for most in (None, 1000)
    )
    assert (whole.micro_batches, split.micro_tokens) == (2, 1000)
    assert whole.micro_tokens > 3000
    assert 2 * 1900 / 1000 < split.micro_batches < 2 * 3
    assert split.tokens == whole.tokens
    tiny = workload(rows, recipe(data=none_held_out, train={**train, "micro_tokens": 64}), None)
    assert (tiny.micro_tokens, tiny.micro_batches) == (1000, 20), "no row is cut"
    trl = {**train, "backend": "trl", "checkpointing": "on"}
    padded, less = (
        workload(rows, recipe(data=none_held_out, train={**trl, "micro_tokens": most}), None) for most in (None, 1000)
    )
    assert less.row_tokens < padded.row_tokens / 2, "rows of like length go together"
