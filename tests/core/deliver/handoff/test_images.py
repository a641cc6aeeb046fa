"""Rows with images are carried over by no hand-off, which is told before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.deliver.handoff.dataset_files import write_all_rows, write_rows
from fitune.core.errors import UserError
from fitune.core.recipe.load import Recipe


def test_no_hand_off_carries_images(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    rows = [{"question": "What is it?", "answer": f"A sign, number {n}.", "image": "a.png"} for n in range(8)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "out").mkdir()
    asked = recipe(data={"source": str(source)})
    for write in (write_rows, write_all_rows):
        with pytest.raises(UserError, match="no hand-off carries over"):
            write(asked, tmp_path / "out")
