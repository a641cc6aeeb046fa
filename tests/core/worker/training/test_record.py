"""A training leaves what it taught, and nothing where it taught nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.forecast import history
from fitune.core.memory.budget import estimate
from fitune.core.memory.shapes import load
from fitune.core.runs import EventLog
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here
from tests.events import raw_line

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


def lines(run: Run) -> list[dict[str, Any]]:
    path = run.path.parent.parent / history.FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_training_leaves_a_line_of_predicted_and_measured(make_run: Callable[..., Run], tiny_model: Path) -> None:
    run = make_run(train={"max_steps": 4})
    train_here(run)
    (line,) = lines(run)
    assert (line["run"], line["backend"], line["shared"], line["place_bytes"]) == (run.name, "trl", False, 0)
    assert line["peak_bytes"] == line["host_peak_bytes"] > 2**28
    # The rows are far shorter than the 128 tokens allowed, and the prediction is of rows as they were.
    full = estimate(load(str(tiny_model)), run.recipe(), None).total_bytes
    assert 0 < line["predicted_bytes"] < full
    assert line["tokens_per_s"] > 0
    assert line["predicted_tokens_per_s"] is None, "there are no figures for processors"
    assert os.stat(run.path.parent.parent / history.FILE).st_mode & 0o777 == 0o600
    found = history.history_of(run.path.parent.parent, None, None, {}, "trl")
    assert [each.run for each in found.measurements] == [run.name]


def test_a_model_of_the_hub_is_recorded_under_the_sizes_of_its_forecast(make_run: Callable[..., Run]) -> None:
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.training.callbacks import Batches
    from fitune.core.worker.training.record import record

    run = make_run(model={"id": "Qwen/Qwen3-8B"})  # none of its files is here
    batches = Batches()
    for _ in range(2):
        batches.add(100)
        batches.end_step(0.5)
    record(run, run.recipe(), batches, MemoryMeter(None, None), EventLog(run.events, "train"))
    assert [line["model"] for line in lines(run)] == [history.model_of(load("Qwen/Qwen3-8B"))]


def test_a_single_step_teaches_nothing(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 1, "eval_every": None})
    train_here(run)
    assert run.current()[0] == "finished"
    assert lines(run) == []


def test_a_file_that_cannot_be_written_is_a_warning_and_no_failure(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 2, "eval_every": None})
    (run.path.parent.parent / history.FILE).mkdir()
    train_here(run)
    status, state = run.current()
    assert status == "finished"
    assert "learned.jsonl can't be written" in state.warnings["train"][-1].message


@pytest.mark.parametrize(("resumed_from", "start_s"), [(None, 42.0), (5, None)])
def test_the_time_of_a_start_is_that_until_the_first_step_without_a_download(
    make_run: Callable[..., Run], resumed_from: int | None, start_s: float | None
) -> None:
    from fitune.core.worker.training.record import _start_s

    run = make_run()
    run.lock.write_text(json.dumps({"pid": 1, "job": "train", "started": 100.0}))
    earlier: list[tuple[float, str, dict[str, Any]]] = [(50.0, "started", {}), (60.0, "step", {"step": 1, "loss": 1.0})]
    now: list[tuple[float, str, dict[str, Any]]] = [
        (120.0, "started", {"resumed_from": resumed_from} if resumed_from else {}),
        (121.0, "phase", {"name": "download"}),
        (421.0, "phase", {"name": "load"}),
        (442.0, "step", {"step": 6, "loss": 1.0}),
        (500.0, "step", {"step": 7, "loss": 1.0}),
    ]
    lines = [raw_line(seq, kind, "train", t, **data) for seq, (t, kind, data) in enumerate([*earlier, *now])]
    run.events.write_bytes(b"".join(lines))
    assert _start_s(run) == start_s
