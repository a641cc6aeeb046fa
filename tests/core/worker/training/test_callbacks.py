"""What the trainer's callbacks decide: when a run has gone astray, what is kept of it, and with which weights."""

from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.runs import Checkpoint, Tail
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({}, 64),
        ({"attention_mask": [[1] * 40 + [0] * 24]}, 40),
        ({"packed_seq_lengths": [40, 7]}, 47),
        ({"packed_seq_lengths": [40, 7], "attention_mask": [[1] * 64]}, 47),
    ],
)
def test_padding_is_not_counted_as_tokens(more: dict[str, Any], tokens: int) -> None:
    import torch

    from fitune.core.worker.training.callbacks import tokens_of

    inputs = {"input_ids": torch.ones(1, 64), **{name: torch.tensor(value) for name, value in more.items()}}
    assert int(tokens_of(inputs)) == tokens


def test_a_copy_of_a_checkpoint_that_somebody_keeps_beside_them_is_no_checkpoint(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 2, "keep_checkpoints": 1, "save_every": 1})
    (run.checkpoints / "checkpoint-1-good").mkdir(parents=True)
    train_here(run)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["checkpoint-1-good", "checkpoint-2"]


@pytest.mark.parametrize(
    ("apart_s", "sets", "saved"),
    [(0.0, {}, [2, 4, 6]), (1e6, {}, [6]), (1e6, {"save_every": 2}, [2, 4, 6])],
)
def test_checkpoints_that_nobody_asked_for_are_some_time_apart(
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    apart_s: float,
    sets: dict[str, Any],
    saved: list[int],
) -> None:
    """But the one at the end."""
    monkeypatch.setattr("fitune.core.worker.training.callbacks.SAVE_APART_S", apart_s)
    monkeypatch.setattr("fitune.core.intervals.MIN_STEPS_BETWEEN", 2)
    train = {"max_steps": 6, "eval_every": None, "save_every": None, **sets}
    run = make_run(data={"eval_fraction": 0}, train=train)
    train_here(run)
    events = Tail(run.events).catch_up()
    assert [event.data.step for event in events if isinstance(event.data, Checkpoint)] == saved


def test_a_schedule_free_optimizer_warms_up_by_steps_and_is_kept_with_the_weights_to_use(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for its package: what is kept is off by one from what is trained."""
    import torch
    from safetensors.torch import load_file

    class ScheduleFree(torch.optim.SGD):
        def __init__(self, parameters: Any, **_: Any) -> None:
            super().__init__(parameters, lr=0.0)
            self.param_groups[0] |= {"warmup_steps": 0.25, "trains": True}

        def move(self, trains: bool) -> None:
            group = self.param_groups[0]
            for each in group["params"] if group["trains"] != trains else ():
                each.data += -1 if trains else 1
            group["trains"] = trains

        def train(self) -> None:
            self.move(True)

        def eval(self) -> None:
            assert self.param_groups[0]["warmup_steps"] == 1
            self.move(False)

    monkeypatch.setattr(
        "transformers.Trainer.get_optimizer_cls_and_kwargs", staticmethod(lambda *_: (ScheduleFree, {}))
    )
    run = make_run(data={"eval_fraction": 0}, train={"max_steps": 4, "eval_every": None, "warmup_ratio": 0.25})
    train_here(run)
    held = load_file(run.adapter / "adapter_model.safetensors")
    assert all((matrix == 1).all() for name, matrix in held.items() if "lora_B" in name)
