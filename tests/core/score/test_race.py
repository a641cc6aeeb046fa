"""The race of learning rates on made-up courses of the loss."""

from math import inf, log2

import pytest

from fitune.core.score.losses import Look
from fitune.core.score.race import Lap, Lead, Pace, beside, falling, finalists, own_steps, rates, steps_of_rounds


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


def test_the_finalists_are_the_best_two_that_did_not_diverge() -> None:
    assert finalists(laps_of({1e-4: 2.0, 2e-4: 1.0, 4e-4: 1.5, 8e-4: None})) == (2e-4, 4e-4)
    assert finalists(laps_of({1e-4: None})) == ()


@pytest.mark.parametrize(
    ("budget_s", "full_steps", "rounds"),
    [
        (600, 40, (40,)),  # 6 laps of 6 + 40 s
        (600, 1000, (50, 100)),  # 8 laps of 6 s, 5 * 50 steps and 3 * 100
        (250, 40, (18, 36)),
        (600, 6, (6,)),  # so short a training is raced as it is
        (120, 1000, ()),
        (-1, 1000, ()),
    ],
)
def test_the_planned_laps_take_the_time_that_was_given(
    budget_s: float, full_steps: int, rounds: tuple[int, ...]
) -> None:
    pace = Pace(around_s=6.0, step_s=1.0)
    found = steps_of_rounds(budget_s, pace, full_steps)
    assert found == rounds
    if len(found) == 2:
        assert 5 * pace.of(found[0]) + 3 * pace.of(found[1]) <= budget_s


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


@pytest.mark.parametrize(
    ("is_whole", "losses", "winner"),
    [
        (False, {1e-4: (2.0, 0), 2e-4: (1.0, 0), 4e-4: (1.5, 0)}, 2e-4),
        (False, {4e-4: (1.0, 0), 2e-4: (1.01, 1)}, 2e-4),  # within noise the lower rate
        (False, {2e-4: (1.01, 1), 4e-4: (1.0, 0)}, 2e-4),
        (False, {4e-4: (1.0, 0), 2e-4: (1.4, 1)}, 4e-4),
        (False, {2e-4: (1.4, 1), 4e-4: (1.0, 0)}, 4e-4),
        (True, {4e-4: (1.0, 0), 2e-4: (1.01, 1)}, 4e-4),  # a whole training says how good it is
        (True, {2e-4: (1.01, 1), 4e-4: (1.0, 0)}, 4e-4),
    ],
)
def test_of_short_trainings_within_noise_the_lower_rate_wins(
    is_whole: bool, losses: dict[float, tuple[float, float]], winner: float
) -> None:
    lead = Lead((3,) * len(NOISE), is_whole)
    assert lead.lr is None
    passed = [lr for lr, (loss, noise) in losses.items() if lead.passes(lr, look_at(loss, noise))]
    assert lead.lr == passed[-1] == winner
