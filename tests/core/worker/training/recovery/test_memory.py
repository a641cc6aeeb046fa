"""Memory that runs out: in a step, in an evaluation, before the first step; the training ends as if it had not."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.diagnose import KnownFailure
from fitune.core.recipe import Recipe
from fitune.core.runs import Eval, Recovered, Warned
from fitune.core.runs.run import Run
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a pass hold so many rows at once from a step on, also within the backward pass of what is larger."""

    def patch(rows: int, from_step: int = 0, training: bool = True) -> None:
        import torch
        from transformers import Trainer

        inner = Trainer.compute_loss

        def compute(trainer: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            loss = inner(trainer, model, inputs, *rest, **named)
            is_meant = model.training == training and trainer.state.global_step + 1 >= from_step
            if is_meant and inputs["input_ids"].shape[0] > rows:
                if training:
                    loss.backward()
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return loss

        monkeypatch.setattr(Trainer, "compute_loss", compute)

    return patch


@pytest.mark.parametrize(("micro_batch", "rows"), [(4, 3), (4, 1), (2, 1), (8, 2)])
def test_a_step_is_taken_again_in_smaller_passes_with_the_same_gradient(
    make_run: Callable[..., Run], room: Callable[..., None], micro_batch: int, rows: int
) -> None:
    settings = {"micro_batch": micro_batch, "grad_accum": 8 // micro_batch, "max_steps": 6, "eval_every": None}
    undisturbed, run = (make_run(train=settings, lora={"dropout": 0.0}, data={"eval_fraction": 0}) for _ in range(2))
    train_here(undisturbed)
    room(rows, from_step=3)
    train_here(run)
    assert losses(run) == pytest.approx(losses(undisturbed), rel=1e-4)
    told = data_of(run.events, Recovered)
    assert [each.kind for each in told] == ["oom"]
    assert told[0].step == 3
    assert run.state().step == undisturbed.state().step or run.current()[0] == "finished"


@pytest.mark.parametrize(("failures", "told"), [(0, []), (1, [3])])
def test_an_evaluation_is_tried_once_more(make_run: Callable[..., Run], failures: int, told: list[int]) -> None:
    import torch

    from fitune.core.runs import EventLog
    from fitune.core.worker.training.recovery.evaluation import guard_evaluation

    left = [torch.OutOfMemoryError("CUDA out of memory.")] * failures

    def evaluate() -> dict[str, float]:
        if left:
            raise left.pop()
        return {"eval_loss": 1.0}

    run, state, control = make_run(), SimpleNamespace(global_step=3), SimpleNamespace(should_evaluate=True)
    trainer = SimpleNamespace(state=state, control=control, evaluate=evaluate)
    guard_evaluation(trainer, EventLog(run.events, "train"))
    assert trainer.evaluate() == {"eval_loss": 1.0}
    assert [each.step for each in data_of(run.events, Recovered)] == told


def test_an_evaluation_that_never_fits_is_left_out(make_run: Callable[..., Run], room: Callable[..., None]) -> None:
    run = make_run(train={"micro_batch": 4, "grad_accum": 1}, data={"eval_fraction": 0.3})
    room(0, training=False)
    train_here(run)
    assert data_of(run.events, Eval) == []
    assert {each.kind for each in data_of(run.events, Warned)} == {"eval"}
    assert max(losses(run)) == 8


def test_a_row_that_does_not_fit_starts_anew_with_less_and_then_ends(
    make_run: Callable[..., Run], room: Callable[..., None]
) -> None:
    from fitune.core.worker.training.recovery.leaving import Restart

    run = make_run(train={"checkpointing": "off"})
    room(0, from_step=5)
    for set_ in ({"train.checkpointing": "on"}, {"train.micro_batch": 1, "train.grad_accum": 4}):
        with pytest.raises(Restart):
            train_here(run)
        assert data_of(run.events, Recovered)[-1].set == set_
        assert run.newest_checkpoint() == run.checkpoints / "checkpoint-4", "the last good state"
    with pytest.raises(KnownFailure) as ended:
        train_here(run)
    assert ended.value.failure.kind == "oom"
    assert "fitune fit" in ended.value.failure.hint


def test_the_longest_rows_are_tried_without_a_trace(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training.recovery.bad_steps import BadSteps
    from fitune.core.worker.training.recovery.step_guard import StepGuard

    plain, tried = make_run(), make_run()
    train_here(plain)
    seen: list[int] = []
    step = StepGuard.training_step

    def noting(guard: StepGuard, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        seen.append(inputs["input_ids"].shape[1])
        return step(guard, model, inputs, *rest, **named)

    monkeypatch.setattr(StepGuard, "training_step", noting)
    monkeypatch.setattr(
        BadSteps, "on_train_begin", lambda steps, args, state, control, model, **_: steps.guard.try_longest(model)
    )
    train_here(tried)
    assert losses(tried) == losses(plain)
    assert seen[0] == max(seen)
    assert len(seen) == 2 * 8 + 1


@pytest.mark.parametrize(
    ("train", "remedies"),
    [
        ({"backend": "unsloth", "checkpointing": "off"}, ["checkpointing", "micro_batch", "offload_layers"]),
        ({"backend": "unsloth", "checkpointing": "on"}, ["checkpointing", "micro_batch", "offload_layers"]),
        (
            {"backend": "unsloth", "checkpoint_skip_layers": 4, "micro_batch": 1},
            ["checkpoint_skip_layers", "offload_layers"],
        ),
        ({"backend": "trl", "checkpointing": "on", "micro_batch": 1}, []),
    ],
)
def test_each_remedy_is_tried_once(recipe: Callable[..., Recipe], train: dict[str, Any], remedies: list[str]) -> None:
    from fitune.core.recipe import changed, find_contradictions
    from fitune.core.worker.training.recovery.remedies import next_remedy

    tried, now = [], recipe(train=train)
    while found := next_remedy(now):
        now = changed(now, found[0])
        tried.append(next(iter(found[0])).removeprefix("train."))
        assert not find_contradictions(now)
    assert tried == remedies


def test_a_model_that_can_not_be_loaded_puts_layers_into_host_ram_first(recipe: Callable[..., Recipe]) -> None:
    from fitune.core.recipe import changed, find_contradictions
    from fitune.core.worker.training.recovery.remedies import next_remedy

    now = recipe(train={"backend": "unsloth", "checkpointing": "off", "micro_batch": 8})
    first, then = next_remedy(now, is_loading=True), None
    assert first
    assert first[0]["train.offload_layers"] == "auto"
    now = changed(now, first[0])
    assert not find_contradictions(now)
    then = next_remedy(now, is_loading=True)
    assert then
    assert then[0]["train.micro_batch"] == 1
    assert next_remedy(changed(now, then[0]), is_loading=True) is None
