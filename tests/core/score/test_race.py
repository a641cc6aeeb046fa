"""The race of learning rates on made-up courses of the loss."""

from math import inf, log2

import pytest

from fitune.core.score.losses import Look
from fitune.core.score.race import (
    Lap,
    Pace,
    Standing,
    beside,
    falling,
    finalists,
    first_steps,
    last_steps,
    least_s,
    look_rows,
    own_steps,
    rates,
)


def laps_of(losses: dict[float, float | None]) -> list[Lap]:
    return [Lap(lr, 10, (), loss, 1.0) for lr, loss in losses.items()]


def raced(lr: float, best_lr: float, most: int = 20) -> list[float]:
    """The rates of a round that begins around `lr`, where losses grow with the distance from the best rate, and rates
    eight times as high diverge."""
    waiting, done = list(rates(lr)), list[Lap]()
    while waiting and len(done) < most:
        rate = waiting.pop(0)
        loss = None if rate > 8 * best_lr else 1 + 0.1 * log2(rate / best_lr) ** 2
        done.append(Lap(rate, 10, (), loss, 1.0))
        more = None if waiting else beside(done)
        waiting += [] if more is None else [more]
    return [lap.lr for lap in done]


@pytest.mark.parametrize("lr", [1e-4, 3.3e-4, 1.37e-4, 5.55e-5])
@pytest.mark.parametrize("best_lr", [1e-6, 2e-5, 1e-4, 4e-4, 5e-3, 3e-2])
def test_a_round_goes_on_until_its_best_rate_lies_between_two_others(lr: float, best_lr: float) -> None:
    found = raced(lr, best_lr)
    nearest = min(found, key=lambda rate: abs(log2(rate / best_lr)))
    assert abs(log2(nearest / best_lr)) <= 0.51, "no rate between two of the race is nearer than half a doubling"
    assert len(found) == len({f"{rate:.2g}" for rate in found}), "none is raced twice"
    assert min(found) < nearest < max(found)


def test_a_round_around_the_best_rate_takes_no_further_one() -> None:
    assert raced(1e-4, 1.1e-4) == [5e-5, 1e-4, 2e-4, 4e-4]


def test_where_all_diverged_lower_rates_are_raced_until_one_does_not() -> None:
    assert beside(laps_of({1e-2: None, 2e-2: None})) == 5e-3
    assert min(raced(1e-2, 1e-5)) < 1e-5


def test_no_rate_above_1_is_raced() -> None:
    assert beside(laps_of({0.3: 2.0, 0.6: 1.0})) is None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({1e-4: 2.0, 2e-4: 1.0, 4e-4: 1.5, 8e-4: 3.0}, (2e-4, 1e-4, 4e-4)),
        ({1e-4: 2.0, 2e-4: 1.0}, (2e-4, 1e-4, 4e-4)),  # there was no time for the highest
        ({1e-4: 2.0, 2e-4: 1.0, 4e-4: None}, (2e-4, 1e-4)),
        ({6.25e-5: 2.0, 1.24e-4: 1.0}, (1.24e-4, 6.25e-5, 2.48e-4)),  # as it was rounded
        ({0.4: 2.0, 0.8: 1.0}, (0.8, 0.4)),
        ({1e-4: None}, ()),
    ],
)
def test_the_last_round_has_the_best_rate_and_those_beside_it(
    losses: dict[float, float | None], expected: tuple[float, ...]
) -> None:
    assert finalists(laps_of(losses)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("laps", "grid"),
    [
        (  # GSM8K, 1,900 rows, 31 steps of 238 (bench/results/race_h200_2026-11-30.jsonl)
            {2.5e-4: 0.9015, 5e-4: 0.8504, 1e-3: 0.8058, 2e-3: 0.7921, 4e-3: 0.8060},
            {1.25e-4: 0.7708, 2.5e-4: 0.7425, 5e-4: 0.7205, 1e-3: 0.7002, 2e-3: 0.6864, 4e-3: 0.6778, 8e-3: 0.7277},
        ),
        (  # desks of the tiny model, 37 steps of 120 (bench/results/race_cpu_2026-11-30.jsonl)
            {1e-4: 3.5236, 2e-4: 2.2855, 4e-4: 0.8078, 8e-4: 0.1294, 1.6e-3: 0.0783},
            {4e-4: 0.0274, 8e-4: 0.006, 1.6e-3: 0.0045, 3.2e-3: 0.005, 6.4e-3: 0.0288},
        ),
    ],
)
def test_the_best_rate_of_a_recorded_grid_comes_to_the_last_round(
    laps: dict[float, float], grid: dict[float, float]
) -> None:
    assert min(grid, key=grid.__getitem__) in finalists(laps_of(dict(laps)))


@pytest.mark.parametrize(
    ("budget_s", "full_steps", "steps"),
    [
        (600, 40, 40),  # 6 laps of 6 + 40 s
        (600, 1000, 39),  # 8 laps of 6 s, 5 * 39 steps and 3 * 117
        (250, 40, 13),
        (600, 6, 6),  # so short a training is raced as it is
        (120, 1000, 0),
        (-1, 1000, 0),
    ],
)
def test_the_planned_laps_take_the_time_that_was_given(budget_s: float, full_steps: int, steps: int) -> None:
    pace = Pace(around_s=6.0, step_s=1.0)
    assert first_steps(budget_s, pace, full_steps) == steps
    if 0 < steps < full_steps:
        assert 5 * pace.of(steps) + 3 * pace.of(3 * steps) <= budget_s


@pytest.mark.parametrize("full_steps", [6, 12, 29, 30, 40, 1000])
def test_the_least_time_of_a_race_is_enough_and_less_is_not(full_steps: int) -> None:
    pace = Pace(around_s=6.0, step_s=1.0)
    assert first_steps(least_s(pace, full_steps), pace, full_steps) > 0
    assert first_steps(least_s(pace, full_steps) - 0.1, pace, full_steps) == 0


@pytest.mark.parametrize(
    ("left_s", "full_steps", "steps"),
    [
        (333, 1000, 105),  # 3 laps of 6 + 105 s: all the time that is left
        (450, 1000, 144),  # a first round of fewer laps leaves more
        (450, 120, 120),
        (30, 1000, 80),  # the pace fell: still twice as long
    ],
)
def test_the_last_round_takes_the_time_that_is_left(left_s: float, full_steps: int, steps: int) -> None:
    assert last_steps(left_s, Pace(6.0, 1.0), 40, full_steps) == steps


@pytest.mark.parametrize(("step_rows", "rows"), [(1, 10), (8, 80), (64, 128)])
def test_no_more_rows_are_looked_at_than_a_short_lap_trains_on(step_rows: int, rows: int) -> None:
    assert look_rows(step_rows) == rows


def test_a_lap_has_the_rates_of_the_training_and_then_falls_to_0() -> None:
    def own(step: int) -> float:
        return min(step / 4, 1 - step / 1000)

    at = falling(own, own_steps(20), 20)
    assert [at(step) for step in range(17)] == [own(step) for step in range(17)]
    assert [at(step) for step in range(17, 21)] == pytest.approx([own(16) * share for share in (0.75, 0.5, 0.25, 0)])


def test_a_whole_training_falls_no_slower_than_by_its_own_schedule() -> None:
    at = falling(lambda step: 1 - step / 20, own_steps(20), 20)
    assert [at(step) for step in range(21)] == pytest.approx([1 - step / 20 for step in range(21)])
    assert falling(lambda _: 1.0, own_steps(1), 1)(0) == 1.0
    assert inf > falling(lambda _: 1.0, own_steps(1), 1)(1) == 0


NOISE = (0.3, -0.2, 0.1, -0.3, 0.2, -0.1, 0.25, -0.25)


def look_at(loss: float, noise: float = 0.0) -> Look:
    return Look(20, tuple(loss + noise * each for each in NOISE))


def test_the_lowest_loss_wins_and_those_within_its_noise_are_told() -> None:
    standing = Standing((3,) * len(NOISE))
    assert standing.best is None
    assert not standing.level
    standing.looks = {
        1e-4: look_at(1.5),
        8e-4: look_at(1.1, 1),
        2e-4: look_at(1.01, 1),
        4e-4: look_at(1.0),
    }
    assert standing.best == 4e-4
    assert standing.level == (2e-4, 8e-4), "1e-4 is surely worse"
