"""A chat shows an image to both models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data.dataset import rows
from fitune.core.errors import UserError
from fitune.core.recipe import Data
from fitune.core.worker.answers import prompt_ids, question, row_prompt_ids
from fitune.core.worker.images.processor import load
from tests.core.worker.images.conftest import FEWER

pytestmark = pytest.mark.train


@pytest.mark.parametrize("family", FEWER)
def test_a_question_is_asked_as_it_was_trained(
    family: str, seeing_model: Callable[[str], Path], image_rows: Path
) -> None:
    processor = load(seeing_model(family), 4000, remote_code=False)
    tokenizer = processor.processor.tokenizer
    row = next(rows(Data(source=str(image_rows))))
    asked = question(row)
    assert asked is not None
    assert asked.images == (row["images"][0],)
    ids = prompt_ids(asked.asked, None, tokenizer, None, asked.images, processor)
    assert ids == row_prompt_ids(row, tokenizer, None, processor)


def test_more_marks_than_images_and_a_damaged_image_are_told(
    seeing_model: Callable[[str], Path], tmp_path: Path, image_rows: Path
) -> None:
    processor = load(seeing_model("qwen3_vl"), 4000, remote_code=False)
    tokenizer = processor.processor.tokenizer
    asked: list[dict[str, Any]] = [{"role": "user", "content": "<image><image>What is it?"}]
    with pytest.raises(UserError, match="2 times for 1 images"):
        prompt_ids(asked, None, tokenizer, None, [str(image_rows.parent / "img" / "0.png")], processor)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((image_rows.parent / "img" / "1.png").read_bytes()[:-60])
    with pytest.raises(UserError, match="is damaged"):
        prompt_ids([{"role": "user", "content": "<image>?"}], None, tokenizer, None, [str(damaged)], processor)


def test_a_model_without_a_tower_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reads text only"):
        load(tmp_path, 4000, remote_code=False)
