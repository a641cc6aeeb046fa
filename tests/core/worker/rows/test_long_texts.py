"""Long plain texts in several rows: every token is learned once, behind what stood before it."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs import Warned
from fitune.core.runs.run import Run
from fitune.core.tokens import cache
from tests.core.worker.conftest import train_here
from tests.events import data_of

TEXT = "It was a dark night. " * 20


@pytest.mark.parametrize(("length", "overlap"), [(64, 0), (64, 16), (33, 16), (1000, 16), (421, 0), (420, 1)])
def test_each_token_is_learned_once_and_only_the_last_row_has_an_end(tokenizer: Any, length: int, overlap: int) -> None:
    from fitune.core.worker.rows.long_texts import Window
    from fitune.core.worker.rows.render import render

    rows = [{"text": TEXT}, {"text": "Short."}]
    found, _ = render(rows, tokenizer, "answers")
    assert isinstance(found, list)
    (whole,) = found
    parts, short = render(rows, tokenizer, "answers", cut=Window(length, overlap).cut)
    assert isinstance(parts, list)
    assert isinstance(short, list)
    assert len(short) == 1
    assert [len(part.ids) <= length for part in parts] == [True] * len(parts)
    joined = parts[0].ids + [token for part in parts[1:] for token in part.ids[overlap:]]
    assert joined == whole.ids
    assert [part.ids[-1] == tokenizer.eos_token_id for part in parts] == [False] * (len(parts) - 1) + [True]
    learned = [token for part in parts for token, label in zip(part.ids, part.labels, strict=True) if label >= 0]
    assert len(learned) == len(whole.ids) - (len(parts) if not overlap else 1)
    for before, part in pairwise(parts):
        assert part.ids[:overlap] == before.ids[len(before.ids) - overlap :]
        assert set(part.labels[:overlap]) <= {-100}


def test_a_chat_is_not_cut(tokenizer: Any) -> None:
    from fitune.core.worker.rows.long_texts import Window
    from fitune.core.worker.rows.render import render

    row = {"messages": [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": TEXT}]}
    (found,) = render([row], tokenizer, "answers", cut=Window(64, 8).cut)
    assert isinstance(found, list)
    assert len(found) == 1


@pytest.mark.train
@pytest.mark.usefixtures("unasked")
def test_texts_are_cut_in_a_training_and_said_to_be(make_run: Callable[..., Run], tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"{n} {TEXT}"}) + "\n" for n in range(12)))
    data = {"source": str(texts), "text_overlap": 16, "eval_fraction": 0.2, "format": "text"}
    run = make_run(data=data, model={"max_seq_length": 64}, train={"max_steps": 3})
    train_here(run)
    (told,) = (each for each in data_of(run.events, Warned) if each.kind == "texts")
    assert "texts became" in told.message
    assert told.count is not None
    assert told.count > 50
    assert not [each for each in data_of(run.events, Warned) if each.kind == "cut"]


def test_the_tokens_of_a_recipe_that_cuts_are_counted_for_its_length(make_run: Callable[..., Run]) -> None:
    plain, cut, longer = (
        cache.key(make_run(data={"text_overlap": overlap}, model={"max_seq_length": length}).recipe())["asked"]
        for overlap, length in ((None, 128), (8, 128), (8, 256))
    )
    assert len({json.dumps(each) for each in (plain, cut, longer)}) == 3
