"""Rows with images are scored and answered as one by one, with what the processor makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.data.dataset import rows
from fitune.core.recipe import Data
from fitune.core.worker.images.processor import ImageProcessor, load
from tests.core.worker.images.conftest import FEWER

pytestmark = pytest.mark.train


@pytest.fixture(params=FEWER)
def seeing(request: pytest.FixtureRequest, seeing_model: Callable[[str], Path]) -> tuple[Any, ImageProcessor]:
    """A model and its processor."""
    from transformers import AutoModelForImageTextToText

    folder = seeing_model(request.param)
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), load(folder, 4000, remote_code=False)


def test_losses_of_a_batch_are_those_of_each_row(seeing: tuple[Any, ImageProcessor], image_rows: Path) -> None:
    import torch

    from fitune.core.worker.images.collator import ImageCollator
    from fitune.core.worker.rows.truncate import truncate
    from fitune.core.worker.scoring.losses import losses
    from fitune.core.worker.scoring.rows import scored_rows

    model, processor = seeing
    tokenizer = processor.processor.tokenizer
    some = list(rows(Data(source=str(image_rows)), limit=3))
    scored = scored_rows(some, tokenizer, 512, images=processor)
    assert [row.images for row in scored] == [tuple(row["images"]) for row in some]
    found = losses(model, scored, 4, processor)
    made = truncate(some, tokenizer, 512, "answers", images=processor)
    for loss, row in zip(found, made.rows, strict=True):
        with torch.no_grad():
            trained = model(**ImageCollator(processor, tokenizer)([row])).loss
        assert loss == pytest.approx(float(trained), abs=1e-4)


def test_answers_of_a_batch_are_those_of_the_processor(seeing: tuple[Any, ImageProcessor], image_rows: Path) -> None:
    from fitune.core.data.images.files import decoded_image
    from fitune.core.worker.images.look import look_at
    from fitune.core.worker.scoring.generate import answers
    from fitune.core.worker.scoring.rows import scored_rows

    model, processor = seeing
    tokenizer = processor.processor.tokenizer
    scored = scored_rows(rows(Data(source=str(image_rows)), limit=3), tokenizer, 512, images=processor)
    prompts = [row.prompt or [] for row in scored]
    look = look_at(processor, [row.images for row in scored])
    found = answers(model, tokenizer, prompts, [2], 6, 4, look)
    for row, answer in zip(scored, found, strict=True):
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour is it?"}]}]
        asked = processor.processor(
            text=[processor.processor.apply_chat_template(chat, add_generation_prompt=True)],
            images=[[decoded_image(row.images[0], 4000)]],
            return_tensors="pt",
        )
        out = model.generate(**asked, max_new_tokens=6, do_sample=False, eos_token_id=[2], pad_token_id=2)
        written = out[0, asked["input_ids"].shape[1] :]
        assert answer == tokenizer.decode(written, skip_special_tokens=True).strip()


def test_a_run_with_images_asks_its_samples_and_is_scored(
    seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Any]
) -> None:
    from fitune.core.runs import Sample, Score, Warned
    from tests.core.worker.conftest import train_here
    from tests.events import data_of

    run = make_run(
        model={"id": str(seeing_model("qwen3_vl"))},
        data={"source": str(image_rows), "eval_fraction": 0.3, "image_pixels": 4000},
        train={"max_steps": 2, "grad_accum": 1, "score": "auto"},
    )
    train_here(run)
    assert not [each.message for each in data_of(run.events, Warned) if each.kind in ("score", "sample")]
    assert data_of(run.events, Sample)
    assert data_of(run.events, Score)


@pytest.mark.usefixtures("short_race", "unasked")
@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3"])
def test_a_race_looks_at_the_images_of_a_micro_batch_together(
    seeing_model: Callable[[str], Path],
    image_rows: Path,
    make_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
) -> None:
    from fitune.core.runs import RacedLap
    from fitune.core.worker.scoring.race import Track
    from tests.core.worker.conftest import race_here
    from tests.events import data_of

    data = {"source": str(image_rows), "eval_fraction": 0.4, "image_pixels": 4000}
    train = {"max_steps": 4, "lr": 1e-3, "eval_every": None, "micro_batch": 2, "grad_accum": 1}
    model = {"id": str(seeing_model(family))}
    together, alone = (make_run(model=model, data=data, lora={"dropout": 0}, train=train) for _ in range(2))
    race_here(together, 0)
    monkeypatch.setattr(Track, "_rows_at_once", 1)
    race_here(alone, 0)
    losses = [data_of(run.events, RacedLap)[-1].loss for run in (together, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_same_question_about_another_image_is_another_row() -> None:
    from fitune.core.score.scores import key_of

    turns = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "Red."}]
    one, other = ({"messages": turns, "images": [f"data:;base64,{letter * 400}"]} for letter in "Aa")
    assert key_of(one) == key_of({**one})
    assert key_of(one) != key_of(other)
