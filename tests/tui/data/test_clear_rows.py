"""Rows with images for a model that reads text only are refused by each command, in one sentence with the cure."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fitune.core.errors import ExitCode
from tests.tui.conftest import Fitune

SAID = "Llama-3.1-8B-Instruct reads text only, and rows hold images. Choose a model that sees"


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    rows = [{"question": f"And {n}?", "answer": f"Red {n}.", "image": "a.png"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "recipe.toml"
    model = '[model]\nid = "meta-llama/Llama-3.1-8B-Instruct"\n'
    path.write_text(f'{model}[data]\nsource = "{tmp_path / "rows.jsonl"}"\n')
    return str(path)


@pytest.mark.parametrize(
    "words", [("train", "--yes"), ("estimate", "--gpu-memory", "24"), ("fit", "--gpu-memory", "24")]
)
def test_images_that_a_model_cannot_see_are_refused_at_once(
    fitune: Fitune, recipe_file: str, words: tuple[str, ...]
) -> None:
    ended, out, err = fitune(words[0], recipe_file, *words[1:])
    assert ended == ExitCode.BAD_INPUT
    assert out == ""
    assert SAID in " ".join(err.split())


def test_fitune_data_says_it_as_the_first_problem(fitune: Fitune, recipe_file: str) -> None:
    ended, out, _ = fitune("data", "--recipe", recipe_file)
    assert ended == ExitCode.BAD_INPUT
    assert " ".join(out.split()).startswith(f"ERROR model.id: {SAID}")
