"""Rows of every shape are trained on: three steps each of a tiny model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs import Run
from tests.core.data.shapes.test_recognise import Make
from tests.core.worker.conftest import TEMPLATE, train_here
from tests.core.worker.rows.test_data_shapes import SHAPES
from tests.events import step_of

SHOWS_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}"
    + TEMPLATE.replace("m['content'] +", "m['content'] + (m.tool_calls | tojson if m.tool_calls else '') +")
)
"""The template of the tiny model, with the tools and their calls: without, rows that hold some are refused."""


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model, with a template that shows tools."""
    folder = shutil.copytree(tiny_model, tmp_path / "tiny")
    (folder / "chat_template.jinja").write_text(SHOWS_TOOLS)
    return folder


@pytest.mark.extra
@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(("name", "make", "_taught"), SHAPES, ids=[name for name, *_ in SHAPES])
def test_rows_of_each_shape_are_trained_on(
    name: str, make: Make, _taught: tuple[str, str], model: Path, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    rows = tmp_path / "shape.jsonl"
    rows.write_text("".join(json.dumps(make(n)) + "\n" for n in range(24)))
    shape = {"id": str(model), "max_seq_length": 512}
    run = make_run(data={"source": str(rows)}, train={"max_steps": 3}, model=shape)
    train_here(run)
    assert (run.current()[0], step_of(run)) == ("finished", 3)
