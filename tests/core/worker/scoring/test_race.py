"""The race of learning rates, on real trainings of the tiny model."""

from collections.abc import Callable

import orjson
import pytest

from fitune.core.errors import UserError
from fitune.core.jobs import go_on
from fitune.core.records import from_json
from fitune.core.runs import Finished, RacedLap, Started, Step
from fitune.core.runs.run import Run
from fitune.core.score import Race
from tests.core.worker.conftest import losses, race_here, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


@pytest.mark.parametrize("scheduler", ["constant", "linear", "cosine"])
def test_the_winner_goes_on_as_if_it_had_never_raced(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    monkeypatch.setattr("fitune.core.score.race.first_steps", lambda *_: 5)
    train = {"max_steps": 14, "lr": 1e-4, "eval_every": None, "scheduler": scheduler, "warmup_ratio": 0.2}
    raced, alone, goes_on, other = (
        make_run(data={"eval_fraction": 0.2}, lora={"dropout": 0}, train=train | more)
        for more in ({}, {}, {}, {"grad_accum": 1})
    )
    race_here(raced, 0)
    best = from_json(Race, orjson.loads((raced.path / "race.json").read_bytes())).best_lr
    for run in (alone, goes_on):
        run.change({"train.lr": best})
    assert [go_on(raced, run) for run in (goes_on, other)] == [8, None]
    train_here(alone)
    train_here(goes_on)
    assert data_of(goes_on.events, Started)[0].resumed_from == 8
    assert sorted(losses(goes_on)) == list(range(9, 15))
    assert losses(goes_on) == {step: loss for step, loss in losses(alone).items() if step > 8}


def test_a_race_shorter_than_the_warm_up_has_a_shorter_one_and_is_not_gone_on_from(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.score.race.first_steps", lambda *_: 5)
    train = {"max_steps": 100, "lr": 1e-4, "eval_every": None, "warmup_ratio": 0.2}
    run = make_run(data={"eval_fraction": 0.2}, train=train)
    race_here(run, 0)
    highest = max(step.lr or 0.0 for step in data_of(run.events, Step)[-10:])
    assert highest == pytest.approx(data_of(run.events, RacedLap)[-1].lr)
    assert not run.checkpoints.exists()


def test_the_race_goes_on_beyond_its_highest_rate_while_that_is_the_best(make_run: Callable[..., Run]) -> None:
    run = make_run(
        data={"eval_fraction": 0.2},
        lora={"dropout": 0},
        train={"max_steps": 12, "lr": 1e-4, "eval_every": None, "save_every": None, "micro_batch": 4, "grad_accum": 1},
    )
    race_here(run, 3600)
    laps = data_of(run.events, RacedLap)
    assert [lap.lr for lap in laps[:4]] == [5e-5, 1e-4, 2e-4, 4e-4]
    assert {(lap.round, lap.steps) for lap in laps} == {(1, 12)}, "there is time for whole trainings"
    by_rate = {lap.lr: lap.loss for lap in laps if lap.loss is not None}
    best = min(by_rate, key=lambda lr: by_rate[lr])
    assert best > 4e-4, "these are all too low for a model of random weights"
    assert {lap.lr for lap in laps} > {best / 2, best * 2}
    kept = from_json(Race, orjson.loads((run.path / "race.json").read_bytes()))
    assert kept.best_lr == data_of(run.events, Finished)[0].best_lr == best
    assert [len(lap.losses) for lap in kept.laps] == [12] * len(laps)
    assert kept.laps[0].losses[0] == pytest.approx(kept.laps[3].losses[0]), "all begin at the same start"


def test_without_time_left_a_race_has_four_laps_and_then_those_beside_the_best(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.score.race.first_steps", lambda *_: 5)
    run = make_run(data={"eval_fraction": 0.2}, train={"max_steps": 40, "lr": 1e-4, "eval_every": None})
    race_here(run, 0)
    laps = data_of(run.events, RacedLap)
    assert [(lap.round, lap.steps) for lap in laps] == [(1, 5)] * 4 + [(2, 10)] * 3
    assert [lap.lr for lap in laps[4:]] == [4e-4, 2e-4, 8e-4]


def test_a_stopped_race_has_no_result(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitune.core.score.race.first_steps", lambda *_: 5)
    run = make_run(data={"eval_fraction": 0.2}, train={"max_steps": 40, "lr": 1e-4, "eval_every": None})
    run.stop.touch()
    race_here(run, 0)
    assert data_of(run.events, Finished)[0].stopped
    assert not (run.path / "race.json").exists()


def test_a_race_without_time_is_refused(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 100, "eval_every": None})
    with pytest.raises(UserError, match="fewer than 10 steps a rate") as refused:
        race_here(run, 0.001)
    assert "--minutes " in refused.value.hint


@pytest.mark.usefixtures("short_race")
def test_rows_looked_at_together_give_the_loss_of_those_one_by_one(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.scoring.race import Track

    train = {"max_steps": 4, "lr": 1e-3, "eval_every": None, "micro_batch": 3, "grad_accum": 1}
    together, alone = (make_run(data={"eval_fraction": 0.2}, lora={"dropout": 0}, train=train) for _ in range(2))
    race_here(together, 0)
    monkeypatch.setattr(Track, "_rows_at_once", 1)
    race_here(alone, 0)
    assert data_of(together.events, RacedLap)[0].loss == pytest.approx(
        data_of(alone.events, RacedLap)[0].loss, rel=1e-4
    )
