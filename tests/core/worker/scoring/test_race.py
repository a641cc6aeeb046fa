"""The race of learning rates, on real trainings of the tiny model."""

from collections.abc import Callable

import orjson
import pytest

from fitune.core.errors import UserError
from fitune.core.jobs import go_on
from fitune.core.records import from_json
from fitune.core.runs import EventLog, Finished, RacedLap, Started
from fitune.core.runs.run import Run
from fitune.core.score import Race
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


def race_here(run: Run, budget_s: float) -> None:
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.scoring import race

    (run.path / "tune-lr.json").write_bytes(orjson.dumps({"budget_s": budget_s}))
    race.run(run, EventLog(run.events, "tune-lr"), MemoryMeter(None, None))


def test_the_winner_goes_on_as_if_it_had_never_raced(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fitune.core.score.race.steps_of_rounds", lambda *_: (10, 20))
    train = {"max_steps": 26, "lr": 1e-4, "eval_every": None, "scheduler": "constant"}
    raced, alone, goes_on, other = (
        make_run(data={"eval_fraction": 0.2}, lora={"dropout": 0}, train=train | more)
        for more in ({}, {}, {}, {"grad_accum": 1})
    )
    race_here(raced, 3600)
    best = from_json(Race, orjson.loads((raced.path / "race.json").read_bytes())).best_lr
    for run in (alone, goes_on):
        run.change({"train.lr": best})
    assert [go_on(raced, run) for run in (goes_on, other)] == [20, None]
    train_here(alone)
    train_here(goes_on)
    assert data_of(goes_on.events, Started)[0].resumed_from == 20
    assert sorted(losses(goes_on)) == list(range(21, 27))
    assert losses(goes_on) == {step: loss for step, loss in losses(alone).items() if step > 20}


def test_the_rate_with_the_lowest_held_out_loss_wins(make_run: Callable[..., Run]) -> None:
    run = make_run(
        data={"eval_fraction": 0.2},
        lora={"dropout": 0},
        train={"max_steps": 20, "lr": 1e-4, "eval_every": None, "save_every": None, "micro_batch": 4, "grad_accum": 1},
    )
    race_here(run, 3600)
    laps = data_of(run.events, RacedLap)
    assert [(lap.round, lap.steps) for lap in laps] == [(1, 10)] * 4 + [(2, 20)] * 2
    assert [lap.lr for lap in laps[:4]] == [5e-5, 1e-4, 2e-4, 4e-4]
    first = {lap.lr: lap.loss for lap in laps[:4]}
    assert {lap.lr for lap in laps[4:]} == {2e-4, 4e-4}, "these are all too low for a model of random weights"
    assert first[4e-4] < first[5e-5]  # type: ignore[operator]
    kept = from_json(Race, orjson.loads((run.path / "race.json").read_bytes()))
    assert kept.best_lr == data_of(run.events, Finished)[0].best_lr == 4e-4
    assert [len(lap.losses) for lap in kept.laps] == [10] * 4 + [20] * 2
    assert kept.laps[0].losses[0] == pytest.approx(kept.laps[3].losses[0]), "all begin at the same start"
    assert not run.checkpoints.exists()


def test_a_race_without_time_is_refused(make_run: Callable[..., Run]) -> None:
    run = make_run(train={"max_steps": 100, "eval_every": None})
    with pytest.raises(UserError, match="fewer than 10 steps a rate"):
        race_here(run, 0.001)
