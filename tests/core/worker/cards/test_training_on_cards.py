"""A training on two cards is the training on one: its steps, its rows, its files. Two processes stand for the cards."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.runs import Eval, Finished, Memory, Run, Step
from tests.core.worker.cards.together import train_together
from tests.core.worker.conftest import losses
from tests.events import data_of

pytestmark = pytest.mark.train

ROUNDING = 1e-5
"""A sum of losses in another order differs by so much: fp32 has 7 digits."""


@pytest.fixture
def make(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Makes runs without dropout, whose random numbers would be others on each card."""

    def make(name: str, **train: Any) -> Run:
        return make_run(run={"name": name}, lora={"dropout": 0}, train=train, data={"eval_fraction": 0.075})

    return make


def test_two_cards_take_the_steps_of_one(make: Callable[..., Run], tiny_model: Path) -> None:
    """37 rows in steps of 6, twice: the last step of an epoch has a single row, for one of the two cards."""
    split = {"micro_batch": 3, "grad_accum": 2, "max_steps": None, "epochs": 2, "eval_every": 5, "save_every": 100}
    alone, two = make("alone", **split), make("two", **split)
    rows, shared = train_together(alone, 1), train_together(two, 2)
    assert losses(two) == pytest.approx(losses(alone), rel=ROUNDING)
    assert len(losses(two)) == 2 * 7
    times = Counter(map(tuple, shared))
    assert set(times.values()) == {2}, "each row once in each of the two epochs"
    assert times == Counter(map(tuple, rows))
    for kind, key in ((Step, "seen_tokens"), (Eval, "loss"), (Finished, "eval_loss")):
        found, expected = ([getattr(each, key) for each in data_of(run.events, kind)] for run in (two, alone))
        assert found == pytest.approx(expected, rel=ROUNDING), key
    assert_same_adapter(alone, two, tiny_model)


def test_a_training_goes_on_on_as_many_cards_and_on_more_or_fewer(make: Callable[..., Run]) -> None:
    split = {"micro_batch": 2, "grad_accum": 4, "max_steps": 8, "save_every": 4, "keep_checkpoints": 9}
    whole = make("whole", **split)
    train_together(whole, 2)
    expected = losses(whole)
    for name, ranks, tolerance in (("again", 2, 0.0), ("fewer", 1, ROUNDING)):
        part = make(name, **split)
        shutil.copytree(whole.checkpoints / "checkpoint-4", part.checkpoints / "checkpoint-4")
        train_together(part, ranks)
        assert sorted(losses(part)) == [5, 6, 7, 8]
        assert losses(part) == pytest.approx({step: expected[step] for step in losses(part)}, rel=tolerance, abs=0)
    more = make("more", **split)
    shutil.copytree(part.checkpoints / "checkpoint-8", part.path / "end")
    alone = make("alone", **split)
    train_together(alone, 1)
    shutil.copytree(alone.checkpoints / "checkpoint-4", more.checkpoints / "checkpoint-4")
    train_together(more, 2)
    assert losses(more) == pytest.approx({step: losses(alone)[step] for step in (5, 6, 7, 8)}, rel=ROUNDING)


def test_a_stop_is_heard_by_all(make: Callable[..., Run]) -> None:
    run = make("stopped", max_steps=8)
    run.request_stop()
    train_together(run, 2)
    end = data_of(run.events, Finished)[-1]
    assert (end.stopped, end.steps) == (True, 0)
    assert {each.card for each in data_of(run.events, Memory)} == {None}, "those of the other card come by its pipe"


def assert_same_adapter(first: Run, second: Run, model: Path) -> None:
    """Both adapters are loaded by plain PEFT, and answer alike."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(3, 20)[None]
    found = []
    for run in (first, second):
        base = AutoModelForCausalLM.from_pretrained(model)
        found.append(PeftModel.from_pretrained(base, run.adapter)(ids).logits)
    plain = AutoModelForCausalLM.from_pretrained(model)(ids).logits
    assert torch.allclose(found[0], found[1], atol=1e-3)
    assert (found[0] - plain).abs().max() > 0.05
