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
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here

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
