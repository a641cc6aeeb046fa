"""The tokens and pixels of rows with images are those of each family's own processor; only answers are trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.seeing_models import SHOWN
from fitune.core.data.dataset import rows
from fitune.core.recipe import Data
from fitune.core.worker.images.processor import ImageProcessor, load
from fitune.core.worker.rows.truncate import truncate

pytestmark = pytest.mark.train
MOST_PIXELS = 4_000


@pytest.fixture(params=SHOWN)
def processor(request: pytest.FixtureRequest, seeing_model: Callable[[str], Path]) -> ImageProcessor:
    return load(seeing_model(request.param), MOST_PIXELS, remote_code=False)


def chat(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row with one image as the chat that people write for a processor."""
    text = row["messages"][0]["content"].removeprefix("<image>")
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
        {"role": "assistant", "content": row["messages"][1]["content"]},
    ]


def test_a_micro_batch_is_what_the_processor_makes_of_the_same_chats(
    processor: ImageProcessor, image_rows: Path
) -> None:
    import torch

    from fitune.core.data.images.files import decoded_image
    from fitune.core.worker.images.collator import ImageCollator

    some = list(rows(Data(source=str(image_rows)), limit=3))
    tokenizer = processor.processor.tokenizer
    made = truncate(some, tokenizer, 512, "answers", images=processor)
    batch = ImageCollator(processor, tokenizer)(made.rows)
    texts = [processor.processor.apply_chat_template(chat(row)) for row in some]
    images = [[decoded_image(row["images"][0], MOST_PIXELS)] for row in some]
    tokenizer.padding_side = "right"
    wanted = processor.processor(text=texts, images=images, padding=True, return_tensors="pt")
    assert {*wanted, "labels"} == set(batch)
    for name, tensor in wanted.items():
        assert torch.equal(batch[name], tensor), name


def test_only_the_answer_is_trained(processor: ImageProcessor, image_rows: Path) -> None:
    tokenizer = processor.processor.tokenizer
    some = list(rows(Data(source=str(image_rows)), limit=4))
    made = truncate(some, tokenizer, 512, "answers", images=processor)
    for row, trained in zip(some, made.rows, strict=True):
        ids = [token for token in trained["labels"] if token != -100]
        assert tokenizer.decode(ids) == f"{row['messages'][1]['content']}<|im_end|>"
        assert trained["album"] == [processor.album.index(row["images"][0])]


def test_an_image_is_shown_by_its_size(processor: ImageProcessor, image_rows: Path) -> None:
    from fitune.core.worker.rows.prepare import example
    from fitune.core.worker.rows.render import render

    tokenizer = processor.processor.tokenizer
    (rendered,) = render(rows(Data(source=str(image_rows)), limit=1), tokenizer, "answers", images=processor)
    assert isinstance(rendered, list)
    shown = example(0, rendered[0], tokenizer, processor)
    assert len(shown.tokens) == shown.length == len(rendered[0].ids)
    begin = "image of 60 x 40 pixels: "
    if type(processor.processor).__name__ == "Idefics3Processor":  # marks stand between its tiles
        begin = "part of an image: "
    told = [token.text for token in shown.tokens if token.text.startswith(begin)]
    assert len(told) == 1 or begin.startswith("part")
    assert "".join(token.text for token in shown.tokens).count(" tokens") == len(told) > 0


def test_gemma_3_is_read_by_its_own_call_where_unsloth_has_put_another(
    seeing_model: Callable[[str], Path], image_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import Gemma3Processor

    def unsloth_call(*_: Any, **__: Any) -> Any:
        raise AssertionError("this is not asked")

    def made() -> dict[str, Any]:
        processor = load(seeing_model("gemma3"), MOST_PIXELS, remote_code=False)
        assert processor.types_name == "token_type_ids"
        place = processor.place_of(str(image_rows.parent / "img" / "0.png"))
        ids = processor.processor.tokenizer(processor.text_of(processor.album[place]))["input_ids"]
        return processor.tensors_of([[place]], torch.tensor([ids]))

    before = made()
    unsloth_call.__module__ = "unsloth_zoo.temporary_patches.gemma"
    monkeypatch.setattr(Gemma3Processor, "__call__", unsloth_call)
    after = made()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
