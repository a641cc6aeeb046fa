"""NaN, infinity and zero in a training: one bad batch is left out, the rate is halved a few times, then it ends."""

import shutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.diagnose import KnownFailure
from fitune.core.runs import Recovered, Step
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, poison, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], bool], float], None]:
    """Makes the loss of chosen steps another number times itself."""

    def patch(chosen: Callable[[int], bool], factor: float) -> None:
        from transformers import Trainer

        inner = Trainer.compute_loss

        def compute(trainer: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            loss = inner(trainer, model, inputs, *rest, **named)
            return loss * factor if model.training and chosen(trainer.state.global_step + 1) else loss

        monkeypatch.setattr(Trainer, "compute_loss", compute)

    return patch


def test_one_bad_batch_is_left_out_and_named(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    import math

    spoil(lambda step: step == 5, float("nan"))
    run = make_run()
    train_here(run)
    (told,) = data_of(run.events, Recovered)
    assert (told.kind, told.step) == ("nan", 5)
    assert "What is" in told.message
    steps = {each.step: each.loss or 0.0 for each in data_of(run.events, Step)}
    assert [step for step, loss in steps.items() if not math.isfinite(loss)] == [5]
    assert run.current()[0] == "finished"


def test_a_spike_is_left_out_and_its_rows_are_named(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    spoil(lambda step: step in (22, 24), 20.0)
    run = make_run(train={"max_steps": 26, "max_grad_norm": 1e-3})
    train_here(run)
    told = data_of(run.events, Recovered)
    assert [(each.kind, each.step) for each in told] == [("spike", 22), ("spike", 24)]
    assert all("Look at its rows “" in each.message for each in told)
    assert run.current()[0] == "finished"


def test_a_spike_changes_no_weight(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    import torch
    from safetensors.torch import load_file

    settings = {"max_steps": 22, "eval_every": None, "lr": 1e-3}
    spoiled, shorter = make_run(train=settings), make_run(train=settings)
    spoil(lambda step: step == 22, 20.0)
    train_here(spoiled)
    spoil(lambda step: step == 22, float("nan"))
    train_here(shorter)
    one, other = (load_file(run.path / "adapter" / "adapter_model.safetensors") for run in (spoiled, shorter))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_at_most_three_spikes_are_left_out(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    spoil(lambda step: step in (22, 24, 26, 28), 20.0)
    run = make_run(train={"max_steps": 29, "max_grad_norm": 1e-3})
    train_here(run)
    assert [each.step for each in data_of(run.events, Recovered)] == [22, 24, 26]


def test_a_loss_that_stays_high_goes_back_once(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    from fitune.core.worker.training.recovery.leaving import Restart

    spoil(lambda step: step >= 22, 20.0)
    run = make_run(train={"max_steps": 26, "max_grad_norm": 1e-3})
    with pytest.raises(Restart):
        train_here(run)
    train_here(run)
    assert [each.kind for each in data_of(run.events, Recovered)] == [*["spike"] * 3, "rate", *["spike"] * 3]
    assert run.recipe().train.lr == 1e-2 / 2
    assert run.current()[0] == "finished"


def test_a_training_that_goes_on_remembers_the_course_of_its_loss(
    make_run: Callable[..., Run], spoil: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training.saving import adapter

    def stop(*_: object) -> None:
        raise InterruptedError

    spoil(lambda step: step == 23, 20.0)
    run = make_run(train={"max_steps": 24, "max_grad_norm": 1e-3, "save_every": 22})
    with monkeypatch.context() as patch:
        patch.setattr(adapter, "save", stop)
        with pytest.raises(InterruptedError):
            train_here(run)
    shutil.rmtree(run.checkpoints / "checkpoint-24")
    train_here(run)
    assert [each.step for each in data_of(run.events, Recovered)] == [23, 23]


def test_a_training_that_goes_astray_goes_back_with_half_the_rate(
    make_run: Callable[..., Run], spoil: Callable[..., None]
) -> None:
    from fitune.core.worker.training.recovery.leaving import Restart

    run = make_run(train={"max_steps": 12})
    spoil(lambda step: step >= 5, float("inf"))
    for halvings in (1, 2, 3):
        with pytest.raises(Restart):
            train_here(run)
        assert run.recipe().train.lr == 1e-2 / 2**halvings
    with pytest.raises(KnownFailure) as ended:
        train_here(run)
    assert ended.value.failure.kind == "nan"
    assert "halved 3 times, to 0.00125" in ended.value.failure.message
    assert run.newest_checkpoint() == run.checkpoints / "checkpoint-6"


def test_a_run_goes_on_from_its_checkpoint_after_it_went_back(
    make_run: Callable[..., Run], spoil: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training.recovery.leaving import Restart

    run = make_run()
    with monkeypatch.context():
        bad = [True]
        spoil(lambda step: bad[0] and step >= 5, float("nan"))
        with pytest.raises(Restart):
            train_here(run)
        bad[0] = False
        train_here(run)
    assert max(losses(run)) == 8
    assert [each.kind for each in data_of(run.events, Recovered)] == ["nan", "nan", "rate"]
    assert run.current()[0] == "finished"


def test_a_base_that_gives_nan_at_once_is_to_blame(make_run: Callable[..., Run]) -> None:
    run = make_run()
    poison(run)
    with pytest.raises(KnownFailure) as ended:
        train_here(run)
    assert ended.value.failure.kind == "nan"
    assert "base model's weights hold NaN or infinity, in model.norm.weight" in ended.value.failure.message
    assert "rate" not in ended.value.failure.hint


def test_a_loss_of_exactly_0_ends_the_run(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    spoil(lambda step: True, 0.0)
    with pytest.raises(KnownFailure, match="loss was exactly 0 for 5 steps, up to step 5"):
        train_here(make_run())


@pytest.mark.parametrize("allowed", [16])
def test_fp16_skips_some_steps_by_itself(allowed: int, make_run: Callable[..., Run]) -> None:
    from fitune.core.runs import EventLog
    from fitune.core.worker.training.recovery.bad_steps import BadSteps
    from fitune.core.worker.training.recovery.leaving import Restart

    run = make_run()
    trainer = SimpleNamespace(accelerator=SimpleNamespace(clip_grad_norm_=None))
    guard: Any = None
    steps = BadSteps(trainer, guard, run, EventLog(run.events, "train"), None)
    args, state = SimpleNamespace(fp16=True), SimpleNamespace(global_step=1)
    logs = {"loss": 1.0, "grad_norm": float("inf"), "learning_rate": 1e-4}
    for _ in range(allowed):
        steps.on_log(args, state, None, logs)
    with pytest.raises(Restart):
        steps.on_log(args, state, None, logs)
