"""History: corrections are visible, bounded, and come from like runs on the same card and stack only."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.forecast import history
from fitune.core.forecast.history import History, Measurement, history_of
from fitune.core.forecast.pace import estimate_pace
from fitune.core.machine.host import Gpu
from fitune.core.memory.budget import estimate, safe_bytes
from fitune.core.units import GIB
from tests.core.forecast.measurements import CARD_BYTES, CARD_NAME, VERSIONS, measurement
from tests.core.memory.test_budget import H100, LLAMA_8B, recipe

GPU = Gpu(0, "GPU-1", CARD_NAME, CARD_BYTES, CARD_BYTES, compute_capability=(8, 9))
BUDGET = estimate(LLAMA_8B, recipe(), H100)
PACE = estimate_pace(LLAMA_8B, recipe(), "NVIDIA H100 80GB HBM3")


def known(*ratios: float) -> History:
    """Runs that took this many times what was predicted of BUDGET, at that many times the pace."""
    total = BUDGET.total_bytes
    runs = (
        measurement(predicted_bytes=total, peak_bytes=round(total * each), tokens_per_s=1000 * each) for each in ratios
    )
    return History(tuple(runs))


@pytest.mark.parametrize("ratios", [(), (1.0,), (1.02,) * 3, (1.25,), (0.96,) * 3])
@pytest.mark.parametrize("backend", ["unsloth", "trl"])
def test_where_it_fits_its_range_ends_below_what_is_free(ratios: tuple[float, ...], backend: str) -> None:
    plan, seen = recipe(train__backend=backend, train__checkpointing="on"), set()
    for tenths in range(60, 160):
        card = replace(H100, total_bytes=tenths * GIB // 10, free_bytes=tenths * GIB // 10)
        found = known(*ratios).corrected_budget(estimate(LLAMA_8B, plan, card))
        seen.add(found.verdict)
        if found.verdict == "fits":
            assert found.low_bytes <= found.total_bytes <= found.high_bytes <= found.free_bytes
        if found.total_bytes > found.free_bytes:
            assert found.verdict == "over"
    assert seen == {"fits", "tight", "over"}


# --- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., tuple[Measurement, ...]]:
    """Writes measurements, and reads the history of the L4 with this stack."""

    def keep(*runs: Measurement, gpu: Gpu | None = GPU, backend: str = "unsloth") -> tuple[Measurement, ...]:
        for each in runs:
            history.append(tmp_path, each)
        return history_of(tmp_path, gpu, "some processor", VERSIONS, backend).measurements

    return keep


def test_what_is_remembered_is_known_and_private(kept: Callable[..., tuple[Measurement, ...]], tmp_path: Path) -> None:
    first, second = measurement(), measurement(run="run-b")
    assert kept() == ()
    assert kept(first, second) == (first, second)
    assert os.stat(tmp_path / history.FILE).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "changes",
    [{"place": "NVIDIA L40S"}, {"place_bytes": 16 * GIB}, {"stack": "fitune 0.0.1"}, {"backend": "trl"},
     {"shared": True}],
    ids=str,
)  # fmt: skip
def test_other_cards_stacks_backends_and_shared_cards_teach_nothing(
    kept: Callable[..., tuple[Measurement, ...]], changes: dict[str, Any]
) -> None:
    assert kept(measurement(**changes)) == ()


def test_a_processor_learns_from_its_own_runs(kept: Callable[..., tuple[Measurement, ...]]) -> None:
    here = measurement(place="some processor", place_bytes=0, backend="trl")
    assert kept(here, measurement(run="run-b", backend="trl"), gpu=None, backend="trl") == (here,)


def test_a_run_that_was_resumed_counts_once(kept: Callable[..., tuple[Measurement, ...]]) -> None:
    later = measurement(t=2.0, peak_bytes=GIB)
    assert kept(measurement(), later) == (later,)


BAD: tuple[dict[str, Any], ...] = (
    {"peak_bytes": 0}, {"peak_bytes": "much"}, {"predicted_bytes": -1}, {"tokens_per_s": None},
    {"flops_per_token": [1]}, {"run": {}}, {"predicted_tokens_per_s": "fast"}, {"predicted_tokens_per_s": 0},
)  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b'{"t": 1}', b"\xff\xfe", b'{"v": NaN}',
     *(json.dumps({**asdict(measurement(run="bad")), **bad}).encode() for bad in BAD)],
    ids=repr,
)  # fmt: skip
def test_a_broken_line_is_skipped(kept: Callable[..., tuple[Measurement, ...]], tmp_path: Path, line: bytes) -> None:
    (tmp_path / history.FILE).write_bytes(line)  # and has no line end: the next one starts on a line of its own
    assert kept(measurement()) == (measurement(),)


def test_a_key_of_a_later_version_is_no_obstacle(kept: Callable[..., tuple[Measurement, ...]], tmp_path: Path) -> None:
    (tmp_path / history.FILE).write_text(json.dumps({**asdict(measurement()), "colour": "red"}) + "\n")
    assert kept() == (measurement(),)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / history.FILE).mkdir()
    with pytest.raises(UserError, match=r"learned\.jsonl can't be read"):
        history.read_all(tmp_path)


def test_versions_that_change_nothing_are_not_in_the_stacks_name() -> None:
    assert history.stack_of(VERSIONS).endswith("torch 2.11.0, unsloth 2026.10.7")


# --- memory --------------------------------------------------------------------------------------------------------


def test_without_runs_nothing_changes() -> None:
    assert History().corrected_budget(BUDGET) is BUDGET
    assert History().corrected_pace(PACE) is PACE


@pytest.mark.parametrize(
    ("ratios", "factor", "said"),
    [
        ((1.013,), 1.013, "corrected by +1.3% from 1 run on this card"),
        ((1.01, 1.02, 1.09), 1.02, "corrected by +2.0% from 3 runs on this card"),
        ((0.98, 0.98), 0.98, "corrected by -2.0% from 2 runs on this card"),
        ((0.5,), 0.95, "corrected by -5.0% from 1 run on this card"),
        ((9.0,), 1.3, "corrected by +30.0% from 1 run on this card"),
        ((1.2,) * 5 + (1.1,) * 8, 1.1, "corrected by +10.0% from 8 runs on this card"),
    ],
)
def test_a_correction_is_a_part_of_its_own(ratios: tuple[float, ...], factor: float, said: str) -> None:
    found = known(*ratios).corrected_budget(BUDGET)
    assert found.total_bytes == pytest.approx(BUDGET.total_bytes * factor, rel=1e-6)
    assert sum(part.bytes for part in found.parts) == found.total_bytes
    assert (found.parts[-1].name, found.parts[-1].why) == ("correction", said)
    assert found.parts[:-1] == BUDGET.parts
    assert found.low_bytes <= found.total_bytes <= found.high_bytes


def test_runs_that_agree_with_the_prediction_leave_no_part_but_narrow_the_bounds() -> None:
    found = known(1.0, 1.0, 1.0).corrected_budget(BUDGET)
    assert found.parts == BUDGET.parts
    assert found.high_bytes - found.low_bytes < BUDGET.high_bytes - BUDGET.low_bytes


def test_bounds_narrow_from_three_runs_on_as_far_as_these_agree() -> None:
    two, three, doubtful = (
        known(*each).corrected_budget(BUDGET) for each in ((1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.2))
    )
    assert (two.low_bytes, two.high_bytes) == (BUDGET.low_bytes, BUDGET.high_bytes)
    assert three.low_bytes == pytest.approx(BUDGET.total_bytes * (1 - history.MEMORY_SPREAD), rel=1e-6)
    assert three.high_bytes <= BUDGET.total_bytes * (1 + history.MEMORY_SPREAD) + 1
    assert (doubtful.low_bytes, doubtful.high_bytes) == (BUDGET.low_bytes, BUDGET.high_bytes)


@pytest.mark.parametrize(("size", "counts"), [(0.2, False), (0.4, True), (2.5, True), (3.5, False)])
def test_only_runs_of_like_size_count(size: float, counts: bool) -> None:
    other = round(BUDGET.total_bytes * size)
    found = History((measurement(predicted_bytes=other, peak_bytes=round(other * 1.1)),)).corrected_budget(BUDGET)
    assert (found.total_bytes > BUDGET.total_bytes) is counts


@pytest.mark.parametrize(("size", "factor"), [(1.0, 0.8), (1.005, 0.8), (1.2, 0.95)])
def test_a_run_of_the_same_plan_is_believed_as_it_is(size: float, factor: float) -> None:
    """The calibration of a recipe, after runs of other models, which took what was predicted."""
    model, predicted = history.model_of(LLAMA_8B), round(BUDGET.total_bytes * size)
    own = measurement(model=model, predicted_bytes=predicted, peak_bytes=round(0.8 * predicted))
    found = History((*known(1.0, 1.0, 1.0).measurements, own)).corrected_budget(BUDGET, model)
    assert found.total_bytes == pytest.approx(BUDGET.total_bytes * factor, rel=1e-6)
    if factor == 0.8:
        assert found.high_bytes <= found.total_bytes * (1 + history.MEMORY_SPREAD) + 1


def test_runs_of_the_model_come_before_those_of_others() -> None:
    model = history.model_of(LLAMA_8B)
    runs = (*known(1.2, 1.2, 1.2).measurements, *(replace(each, model=model) for each in known(1.04).measurements))
    found = History(runs).corrected_budget(BUDGET, model)
    assert found.total_bytes == pytest.approx(BUDGET.total_bytes * 1.04, rel=1e-6)
    assert History(runs).corrected_budget(BUDGET, "another").total_bytes > 1.1 * BUDGET.total_bytes


def test_a_line_of_an_older_version_names_no_model(tmp_path: Path) -> None:
    line = asdict(measurement())
    del line["model"]
    (tmp_path / history.FILE).write_text(json.dumps(line) + "\n")
    assert history.read_all(tmp_path) == (measurement(),)


def test_the_verdict_is_of_the_corrected_total() -> None:
    before = replace(BUDGET, free_bytes=round(safe_bytes(BUDGET) * 1.01), verdict="fits")
    assert known(1.05).corrected_budget(before).verdict in ("tight", "over")
    assert known(1.3).corrected_budget(before).verdict == "over"
    assert known(0.95).corrected_budget(before).verdict == "fits"


@pytest.mark.parametrize(("free_gib", "length", "ratio"), [(6.72, 2048, 1.02), (8.8, 16384, 1.02), (9.07, 16384, 1.05)])
def test_what_may_fit_is_never_told_as_more_than_is_free(free_gib: float, length: int, ratio: float) -> None:
    """What torch holds between tensors follows what is free, corrected or not."""
    card = replace(H100, free_bytes=round(free_gib * GIB))
    asked = recipe(model__max_seq_length=length, train__micro_batch=2 if length == 2048 else 1)
    found = known(ratio, ratio).corrected_budget(estimate(LLAMA_8B, asked, card))
    assert found.verdict == "tight"
    assert sum(part.bytes for part in found.parts) == found.total_bytes
    assert found.low_bytes <= found.total_bytes <= min(found.high_bytes, found.free_bytes)


def test_a_plan_that_unsloth_refuses_stays_refused() -> None:
    for free_bytes in (2 * BUDGET.total_bytes, round(0.99 * BUDGET.needed_bytes)):
        refused = replace(BUDGET, free_bytes=free_bytes, verdict="over", refused=True)
        assert known(0.95).corrected_budget(refused).verdict == "over"


# --- pace ----------------------------------------------------------------------------------------------------------


def test_pace_follows_the_ratio_of_the_runs() -> None:
    found = known(0.8).corrected_pace(PACE)
    assert PACE.tokens_per_s is not None
    assert found.tokens_per_s == pytest.approx(0.8 * PACE.tokens_per_s)
    assert "1 run on this card" in found.why
    narrow = known(0.8, 0.8, 0.8).corrected_pace(PACE)
    assert narrow.low_tokens_per_s == pytest.approx(0.8 * PACE.tokens_per_s * (1 - history.PACE_SPREAD))
    assert narrow.high_tokens_per_s == pytest.approx(0.8 * PACE.tokens_per_s * (1 + history.PACE_SPREAD))


def test_a_card_without_figures_gets_the_operations_a_second_that_were_reached() -> None:
    unknown = estimate_pace(LLAMA_8B, recipe(), None)
    one = measurement(predicted_tokens_per_s=None, tokens_per_s=500.0, flops_per_token=2 * unknown.flops_per_token)
    found = History((one,)).corrected_pace(unknown)
    assert found.tokens_per_s == pytest.approx(1000.0)
    assert found.low_tokens_per_s is not None
    assert found.high_tokens_per_s is not None
    assert found.low_tokens_per_s < 1000 < found.high_tokens_per_s


def test_a_pace_that_is_out_of_all_reason_is_held_back() -> None:
    assert PACE.tokens_per_s is not None
    slow = History((measurement(tokens_per_s=1.0),)).corrected_pace(PACE)
    assert slow.tokens_per_s == pytest.approx(history.PACE_LEAST * PACE.tokens_per_s)
