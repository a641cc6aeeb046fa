"""A resumed training takes the rate that its recipe has now, and trains the same rows in another split."""

import shutil
from collections.abc import Callable

import pytest

from fitune.core.runs import Step
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


def back_to(run: Run, step: int) -> None:
    """Forget what came after a checkpoint."""
    shutil.rmtree(run.adapter)
    for path in run.checkpoints.iterdir():
        if path.name != f"checkpoint-{step}":
            shutil.rmtree(path)


@pytest.mark.parametrize("scheduler", ["linear", "cosine_with_min_lr", "constant_with_warmup", "polynomial"])
def test_a_changed_rate_goes_on_along_the_schedule(make_run: Callable[..., Run], scheduler: str) -> None:
    run = make_run(train={"scheduler": scheduler, "keep_checkpoints": 9, "eval_every": None}, data={"eval_fraction": 0})
    train_here(run)
    before = {each.step: each.lr or 0.0 for each in data_of(run.events, Step)}
    back_to(run, 3)
    run.change({"train.lr": 5e-3})
    train_here(run)
    after = {each.step: each.lr for each in data_of(run.events, Step)[8:]}
    assert after == pytest.approx({step: before[step] / 2 for step in (4, 5, 6, 7, 8)}, rel=1e-3)


def test_another_split_of_the_batch_trains_the_same_rows(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"keep_checkpoints": 9, "max_steps": None, "epochs": 1.5}, lora={"dropout": 0.0})
    train_here(run)
    before = losses(run)
    back_to(run, 6)
    run.change({"train.micro_batch": 1, "train.grad_accum": 4})
    train_here(run)
    assert losses(run) == pytest.approx(before, rel=1e-4)
