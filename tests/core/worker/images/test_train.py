"""Training on rows with images, with TRL on the CPU."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import BadInput, UserError
from fitune.core.runs import Eval, Warned
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.core.worker.images.conftest import COLOURS
from tests.events import data_of

pytestmark = pytest.mark.train


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3"])
def test_a_model_learns_from_images(
    family: str, seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(
        model={"id": str(seeing_model(family))},
        data={"source": str(image_rows), "eval_fraction": 0.2, "image_pixels": 4000},
        train={"max_steps": 6, "grad_accum": 1, "eval_every": 3},
    )
    train_here(run)
    assert losses(run)[6] < losses(run)[1]


def test_a_training_on_images_and_text_resumes_as_if_it_had_not_stopped(
    seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    import json

    with open(image_rows, "a") as file:
        for n in range(12):
            file.write(json.dumps({"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}."}) + "\n")
    settings: dict[str, Any] = {
        "model": {"id": str(seeing_model("gemma3"))},
        "data": {"source": str(image_rows), "image_pixels": 4000},
        "train": {"max_steps": 6, "grad_accum": 1, "micro_batch": 3, "save_every": 3},
    }
    whole, halved = make_run(run={"name": "whole"}, **settings), make_run(run={"name": "halved"}, **settings)
    train_here(whole)
    train_here(halved)
    shutil.rmtree(halved.checkpoints / "checkpoint-6")
    shutil.rmtree(halved.adapter)
    train_here(halved)
    assert losses(halved) == losses(whole)


def test_what_is_not_done_with_images_is_told_at_once(
    seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    run = make_run(
        model={"id": str(seeing_model("qwen3_vl"))},
        data={"source": str(image_rows), "loss_on": "all", "packing": True},
        train={"micro_tokens": 256},
    )
    with pytest.raises(BadInput) as refused:
        train_here(run)
    assert {problem.where for problem in refused.value.problems} == {
        "data.loss_on",
        "data.packing",
        "train.micro_tokens",
    }


def test_a_damaged_image_leaves_its_row_out_and_is_named(
    seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    damaged = image_rows.parent / "img" / "5.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    run = make_run(
        model={"id": str(seeing_model("qwen3_vl"))},
        data={"source": str(image_rows), "eval_fraction": 0},
        train={"max_steps": 1, "grad_accum": 1, "eval_every": None},
    )
    train_here(run)
    (told,) = (each.message for each in data_of(run.events, Warned) if each.kind == "refused")
    assert told.startswith("1 row was left out; of the first, the image ")
    assert "5.png is damaged" in told


def test_a_model_that_reads_text_only_refuses_images(image_rows: Path, make_run: Callable[..., Run]) -> None:
    with pytest.raises(UserError, match="reads text only"):
        train_here(make_run(data={"source": str(image_rows)}))


def test_what_an_image_shows_is_learned(
    seeing_model: Callable[[str], Path], tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    import json
    import random

    from PIL import Image

    dice, rows = random.Random(5), []
    for n in range(64):
        colour = dice.choice(COLOURS)
        Image.new("RGB", (dice.randint(30, 90), dice.randint(30, 90)), colour).save(tmp_path / f"{n}.png")
        rows.append({"question": "What colour is it?", "answer": f"It is {colour}.", "image": f"{n}.png"})
    source = tmp_path / "any_size.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = make_run(
        model={"id": str(seeing_model("qwen2_5_vl")), "quant": "bf16"},
        lora={"dropout": 0.0},
        data={"source": str(source), "eval_fraction": 0.25, "image_pixels": 4000},
        train={"weights": "all", "lr": 5e-3, "max_steps": 80, "micro_batch": 6, "grad_accum": 1, "eval_every": 80,
               "save_every": 80},
    )  # fmt: skip
    train_here(run)
    looks = [each.loss for each in data_of(run.events, Eval) if each.loss is not None]
    assert looks[-1] < 0.05  # who sees nothing knows one colour of four: ln 4 over some seven tokens is 0.2


def test_that_images_are_slow_to_begin_with_unsloth_is_told(
    seeing_model: Callable[[str], Path], image_rows: Path, make_run: Callable[..., Run]
) -> None:
    from fitune.core.runs import EventLog
    from fitune.core.worker.images.processor import load
    from fitune.core.worker.rows.training_rows import SLOW_IMAGES, read_rows

    folder = seeing_model("qwen3_vl")
    run = make_run(model={"id": str(folder)}, data={"source": str(image_rows)}, train={"backend": "unsloth"})
    tokenizer = load(folder, 4000, remote_code=False).processor.tokenizer
    log = EventLog(run.events, "train")
    rows = read_rows(run, run.recipe(), tokenizer, folder, log, lambda count: [])
    assert rows.images is not None
    assert SLOW_IMAGES in [each.message for each in data_of(run.events, Warned)]
