"""NaN, infinity and zero in a training: one bad batch is left out, the rate is halved a few times, then it ends."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.diagnose import KnownFailure
from fitune.core.runs import Recovered, Step, Warned
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


def test_the_rows_of_a_spike_are_named(make_run: Callable[..., Run], spoil: Callable[..., None]) -> None:
    spoil(lambda step: step in (22, 24), 20.0)
    run = make_run(train={"max_steps": 26, "max_grad_norm": 1e-3})
    train_here(run)
    told = [each.message for each in data_of(run.events, Warned) if each.kind == "spike"]
    assert [message.split(" jumped")[0] for message in told] == ["The loss of step 22", "The loss of step 24"]
    assert all("Look at its rows “" in message for message in told)


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
