"""What may change in a run that goes on: the hints of a failure can be followed, the rest is refused, and why."""

from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.errors import BadInput
from fitune.core.recipe import Recipe, changed, changes_on_resume, value_of

Make = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("pairs", "changes"),
    [
        ([], {}),
        (["train.lr=1e-4"], {"train.lr": 1e-4}),
        (["train.lr=2e-4"], {}),
        (["train.micro_batch=1"], {"train.micro_batch": 1, "train.grad_accum": 8}),
        (["train.grad_accum=2"], {"train.micro_batch": 4, "train.grad_accum": 2}),
        (["train.micro_batch=8", "train.grad_accum=1"], {"train.micro_batch": 8, "train.grad_accum": 1}),
        (["train.checkpointing=off", "train.save_every=7"], {"train.checkpointing": "off", "train.save_every": 7}),
        (["train.offload_layers=auto"], {"train.offload_layers": "auto"}),
        (["deliver.merge=true"], {"deliver.merge": True}),
    ],
)
def test_what_may_change_changes_and_the_batch_stays(recipe: Make, pairs: list[str], changes: dict[str, Any]) -> None:
    before = changed(recipe(), {"train.lr": 2e-4})
    assert changes_on_resume(before, pairs, has_checkpoint=True) == changes
    after = changed(before, changes)
    assert after.train.micro_batch * after.train.grad_accum == 8
    assert all(value_of(after, name) == value for name, value in changes.items())


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        ("lora.r=32", "the adapter has had its form since the first step"),
        ("train.lr=auto", "must be a number in a run that goes on"),
        ("model.max_seq_length=512", "the adapter belongs to the model as it was loaded"),
        ("data.source=other.jsonl", "the rows that were trained on"),
        ("train.seed=1", "the steps that are done were taken with it"),
        ("train.optimizer=sgd", "the steps that are done were taken with it"),
        ("train.epochs=3", "the steps that are done were taken with it"),
        ("run.name=x", "the run has its folder"),
        ("train.micro_batch=3", "a step of this run trains 8 rows, and 3 x 4 are 12"),
        ("train.lr=0", "should be greater than 0"),
        ("train.lrr=1", "Did you mean train.lr?"),
        ("lr=1", "is not of the form group.key=value"),
        ("train.checkpointing=no", "should be"),
    ],
)
def test_the_rest_is_refused_with_the_reason(recipe: Make, pair: str, why: str) -> None:
    with pytest.raises(BadInput) as told:
        changes_on_resume(recipe(), [pair], has_checkpoint=True)
    assert why in str(told.value)


def test_all_problems_are_told_at_once(recipe: Make) -> None:
    with pytest.raises(BadInput) as told:
        changes_on_resume(recipe(), ["lora.r=32", "train.seed=1", "train.lr=-1"], has_checkpoint=True)
    assert len(told.value.problems) == 3


def test_before_the_first_checkpoint_more_may_change(recipe: Make) -> None:
    pairs = ["model.max_seq_length=512", "train.micro_batch=3", "train.optimizer=sgd"]
    assert set(changes_on_resume(recipe(), pairs, has_checkpoint=False)) == {pair.split("=")[0] for pair in pairs}
    with pytest.raises(BadInput, match="can't change"):
        changes_on_resume(recipe(), ["lora.r=32"], has_checkpoint=False)
