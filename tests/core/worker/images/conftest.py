"""Tiny models that see, with their processors, made without the Hub; and rows with images."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import seeing_models

COLOURS = ("red", "green", "blue", "white")
SIZES = ((60, 40), (64, 64), (90, 50))
FEWER = ("qwen2_5_vl", "qwen3_vl", "gemma3", "mistral3")
"""Families for tests that take longer."""


@pytest.fixture(scope="session")
def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a folder with a tiny model of a family that sees, once."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp("seeing") / family
            seeing_models.make(family, made[family], tiny=True)
        return made[family]

    return make


@pytest.fixture
def image_rows(tmp_path: Path) -> Path:
    """A file of 24 questions about images of one colour, in three sizes, with the images beside it."""
    from PIL import Image

    (tmp_path / "img").mkdir()
    rows = []
    for number in range(24):
        colour = COLOURS[number % 4]
        Image.new("RGB", SIZES[number % 3], colour).save(tmp_path / "img" / f"{number}.png")
        rows.append({"question": "What colour is it?", "answer": f"It is {colour}.", "image": f"img/{number}.png"})
    path = tmp_path / "colours.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
