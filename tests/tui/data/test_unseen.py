"""Images for a model that reads text only stop a training as soon as both are known."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fitune.core.data import dataset
from fitune.core.recipe.load import Recipe
from fitune.tui.data.unseen import with_model

BLIND, SEES = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-VL-4B-Instruct"


@pytest.fixture
def source(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    rows = [{"question": f"And {n}?", "answer": f"Red {n}.", "image": "a.png"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "rows.jsonl")


def test_only_a_model_without_a_tower_stops_images(source: str, recipe: Callable[..., Recipe]) -> None:
    blind, sees, unknown = (
        recipe(model={"id": name}, data={"source": source}) for name in (BLIND, SEES, "/nowhere/at/all")
    )
    report = dataset.preview(blind.rows)
    assert report.image_rows
    assert report.can_train
    assert with_model(report, sees) == with_model(report, unknown) == report
    stopped = with_model(report, blind)
    assert not stopped.can_train
    assert str(stopped.problems[0].problem) == (
        "model.id: Llama-3.1-8B-Instruct reads text only, and rows hold images. Choose a model that sees, such as "
        "Qwen3-VL or Gemma 3 4B, or take the images out of the rows."
    )
    assert with_model(stopped, blind) == stopped
    assert with_model(stopped, sees) == report


def test_rows_of_text_stop_no_model(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "And?", "answer": "Yes."}\n' * 40)
    asked = recipe(model={"id": BLIND}, data={"source": str(tmp_path / "rows.jsonl")})
    report = dataset.preview(asked.rows)
    assert with_model(report, asked) == report
