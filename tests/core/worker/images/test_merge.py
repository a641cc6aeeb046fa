"""A merge is proven on rows with images, of a chat up to its first answer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.recipe.load import Recipe

pytestmark = pytest.mark.train


def test_probes_show_the_images_before_the_first_answer(
    seeing_model: Callable[[str], Path], image_rows: Path, recipe: Callable[..., Recipe]
) -> None:
    import json

    import torch
    from transformers import AutoModelForImageTextToText

    from fitune.core.worker.images.processor import load
    from fitune.core.worker.merging.compare_answers import answers_of, probes

    folder = seeing_model("qwen3_vl")
    turns = [
        {"role": "user", "content": "<image>And?"}, {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "<image>Now?"}, {"role": "assistant", "content": "Blue."},
    ]  # fmt: skip
    source = image_rows.with_name("chats.jsonl")
    source.write_text(json.dumps({"messages": turns, "images": ["img/0.png", "img/1.png"]}) + "\n")
    asked = recipe(model={"id": str(folder)}, data={"source": str(source), "image_pixels": 4000})
    tokenizer = load(folder, 4000, remote_code=False).processor.tokenizer
    found, told = probes(asked, tokenizer, folder)
    assert told == "rows of the training, since none were held out"
    assert tokenizer.decode(found[0].ids).count("<|vision_start|>") == 1
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    answers = answers_of(model, found, [2])
    with torch.no_grad():
        blind = model(input_ids=torch.tensor([found[0].ids])).logits[0]
    start = found[0].answer_start - 1
    assert not torch.allclose(answers.logits[0], blind[start:-1])
    without, why = probes(asked, tokenizer)
    assert why == "built-in questions, since the rows hold images, which are not shown here"
    assert len(without) == 3
