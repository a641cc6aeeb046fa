"""Rows of every shape are trained on: three steps each of a tiny model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs import Run
from tests.core.data.shapes.test_recognise import Make
from tests.core.worker.conftest import train_here
from tests.core.worker.rows.test_data_shapes import SHAPES
from tests.events import step_of


@pytest.mark.extra
@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(("name", "make", "_taught"), SHAPES, ids=[name for name, *_ in SHAPES])
def test_rows_of_each_shape_are_trained_on(
    name: str, make: Make, _taught: tuple[str, str], make_run: Callable[..., Run], tmp_path: Path
) -> None:
    rows = tmp_path / "shape.jsonl"
    rows.write_text("".join(json.dumps(make(n)) + "\n" for n in range(24)))
    run = make_run(data={"source": str(rows)}, train={"max_steps": 3}, model={"max_seq_length": 512})
    train_here(run)
    assert (run.current()[0], step_of(run)) == ("finished", 3)
