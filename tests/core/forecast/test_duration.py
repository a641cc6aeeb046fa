"""The time of a whole training: commands that were measured are met, and all of it is counted."""

from dataclasses import replace
from typing import Any

import pytest

from fitune.core.forecast.duration import Amount, Duration
from fitune.core.forecast.forecast import Forecast
from fitune.core.forecast.history import NO_HISTORY, History
from fitune.core.memory.budget import Card
from fitune.core.units import GIB
from tests.core.forecast.measurements import measurement, on
from tests.core.memory.test_budget import LLAMA_8B, recipe

H200 = Card(140 * GIB, 139 * GIB, (9, 0))
FULL = {"train__grad_accum": 1, "train__max_steps": 22}
SHORT = {"train__micro_batch": 8, "train__grad_accum": 1, "train__checkpointing": "off", "train__max_steps": 60,
         "train__optimizer": "adamw_torch_fused"}  # fmt: skip


def forecast_of(known: History = NO_HISTORY, **fields: Any) -> Forecast:
    """Of a training on an H200 for rows in files of 4 bits; its pace as if rows were full."""
    stored = replace(LLAMA_8B, stored_as="nf4")
    return on(stored, recipe(**fields), H200, "NVIDIA H200", known=known)


def time_of(amount: Amount, tokens_per_s: float | None = None, known: History = NO_HISTORY, **fields: Any) -> Duration:
    now = forecast_of(known, **fields)
    if tokens_per_s:
        pace = replace(
            now.pace, low_tokens_per_s=tokens_per_s, tokens_per_s=tokens_per_s, high_tokens_per_s=tokens_per_s
        )
        now = replace(now, pace=pace)
    found = now.duration_of(amount)
    assert found
    return found


@pytest.mark.parametrize(
    ("amount", "tokens_per_s", "fields", "measured_s"),
    [
        (Amount(22, 22 * 4096, 64 * 2048, 0, 0), None, FULL, 49.3),
        (Amount(60, 96_000, 264_000, 0, 0), 6108, SHORT, 49.7),
        (Amount(26, 422_000, 264_000, 0, 0), 15_781, {**SHORT, "train__max_steps": 26}, 59.3),
    ],
)
def test_the_time_of_whole_commands_is_met(
    amount: Amount, tokens_per_s: float | None, fields: dict[str, Any], measured_s: float
) -> None:
    """Of fitune's commands on an H200 with warm files, 2026-11-29 (bench/results/fast_h200_2026-11-29.jsonl). One of
    them took 7 s more for its first step, as Unsloth's cache was empty."""
    found = time_of(amount, tokens_per_s, **fields)
    assert found.total_s == pytest.approx(measured_s, rel=0.2)
    assert found.low_s < measured_s < found.high_s
    assert found.total_s == pytest.approx(found.start_s + found.steps_s + found.pauses_s)


@pytest.mark.parametrize(("rows", "tokens", "look_s"), [(100, 100_000, 100_000 / 10_000 / 2), (100, 1000, 10.9)])
def test_looks_cost_a_forward_pass_each_and_questions_come_with_them(rows: int, tokens: int, look_s: float) -> None:
    """Of an 8B the host takes 0.11 s to start the kernels for a row, however short it is."""
    without, with_them = (
        time_of(Amount(1000, 1_000_000, 1_100_000, *look), 10_000, train__checkpointing="off", train__save_every=1000)
        for look in ((0, 0), (rows, tokens))
    )
    look_s, questions_s = max(look_s, 10.9), 2 * 3.7
    assert with_them.total_s - without.total_s == pytest.approx(11 * look_s + questions_s, rel=0.02)
    rarely = time_of(Amount(1000, 1_000_000, 1_100_000, rows, tokens), 10_000, train__eval_every=1000)
    assert rarely.pauses_s < with_them.pauses_s / 2


def test_a_short_training_is_told_fewer_checkpoints_unless_the_recipe_sets_them() -> None:
    """A checkpoint of an 8B with states in 8 bits takes a second."""
    amount = Amount(140, 280_000, 300_000, 0, 0)
    asked, open_ = (time_of(amount, 10_000, train__save_every=every).pauses_s for every in (20, None))
    assert asked - open_ == pytest.approx(6 * 1.2, rel=0.2)


def test_a_model_that_unsloth_compiles_takes_longer_to_start() -> None:
    amount = Amount(10, 1000, 1000, 0, 0)
    fast, compiled = (
        on(replace(LLAMA_8B, model_type=kind), recipe(), H200, "NVIDIA H200").duration_of(amount)
        for kind in ("llama", "gemma3_text")
    )
    assert fast
    assert compiled
    assert compiled.start_s - fast.start_s > 30


def test_a_pace_that_is_less_sure_widens_the_bounds_of_the_steps_alone() -> None:
    now = forecast_of()
    found = now.duration_of(Amount(1000, 1e7, 1e6, 0, 0))
    assert found
    assert now.pace.low_tokens_per_s
    assert found.high_s == pytest.approx(2 * found.start_s + 1e7 / now.pace.low_tokens_per_s + found.pauses_s)


def test_earlier_runs_on_the_machine_tell_how_long_it_takes_to_start() -> None:
    amount = Amount(10, 1000, 1000, 0, 0)
    size_bytes = forecast_of().budget.total_bytes
    runs = [
        measurement(predicted_bytes=size_bytes, peak_bytes=size_bytes, start_s=seconds) for seconds in (100, 90, 300)
    ]
    known = time_of(amount, known=History(tuple(runs)))
    assert known.start_s == 100
    assert known.high_s < 130
    older = replace(runs[0], start_s=None)
    assert time_of(amount, known=History((older,))).start_s < 50
    small = replace(runs[0], predicted_bytes=size_bytes // 4)
    assert time_of(amount, known=History((small,))).start_s < 50


def test_a_card_without_figures_has_no_time() -> None:
    now = on(LLAMA_8B, recipe(), H200, "NVIDIA Something")
    assert now.duration_of(Amount(10, 1000, 1000, 0, 0)) is None
    assert now.duration is None
