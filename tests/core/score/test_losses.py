"""The checkpoint that is delivered: the earliest within noise of the best; and the end of what only overfits."""

import random

from fitune.core.score.losses import Look, Looks, best, delivered, errors_above, is_over, is_worse_than_base

ROWS = 32


def looks(*means: float, noise: float = 0.05, rows: int = ROWS, seed: int = 1) -> Looks:
    """A look for each mean, ten steps apart from step 0 on: rows differ a lot, and each look moves every row a bit."""
    dice = random.Random(seed)
    rows_own = [dice.uniform(-0.8, 0.8) for _ in range(rows)]
    centre = sum(rows_own) / rows
    made = Looks((5,) * rows)
    for number, mean in enumerate(means):
        wobble = [dice.gauss(0, noise) for _ in range(rows)]
        shift = sum(wobble) / rows
        made = made.add(
            Look(10 * number, tuple(mean + own - centre + w - shift for own, w in zip(rows_own, wobble, strict=True)))
        )
    return made


def test_the_lowest_loss_is_delivered_where_it_is_surely_the_lowest() -> None:
    found = looks(2.0, 1.5, 1.2, 1.0, 1.3, 1.6)
    assert best(found) == delivered(found) == found.looks[3]


def test_of_losses_that_only_wander_the_earliest_is_delivered() -> None:
    found = looks(2.0, 1.001, 1.0005, 1.0)
    chosen = delivered(found)
    assert chosen is not None
    assert chosen.step == 10
    assert best(found) == found.looks[3]


def test_step_0_is_the_base_and_is_not_delivered() -> None:
    found = looks(1.0, 1.5, 1.8)
    chosen = delivered(found)
    assert chosen is not None
    assert chosen.step == 10
    assert is_worse_than_base(chosen, found)
    assert delivered(looks(1.0)) is None


def test_a_training_that_overfits_ends_and_one_that_wanders_does_not() -> None:
    overfit = looks(2.0, 1.0, 1.2, 1.4, 1.6)
    assert is_over(overfit, 3)
    assert not is_over(overfit, 0)
    assert not is_over(overfit, 4)
    assert not is_over(looks(2.0, 1.0, 1.002, 1.003, 1.001), 3)
    assert not is_over(looks(2.0, 1.0, 1.2, 1.4, 0.9), 3)


def test_plateaus_are_ended_in_few_of_many_trainings() -> None:
    ended = sum(is_over(looks(2.0, *[1.0] * 10, noise=0.1, seed=seed), 3) for seed in range(300))
    assert ended == 0, "every mean is the same"
    dice = random.Random(2)
    ended = sum(
        is_over(looks(2.0, *(1 + dice.gauss(0, 0.1 / ROWS**0.5) for _ in range(10)), noise=0.1, seed=seed), 3)
        for seed in range(300)
    )
    assert ended <= 6


def test_looks_after_a_resume_take_the_place_of_void_ones() -> None:
    found = looks(2.0, 1.5, 1.2, 1.0).add(Look(20, (1.3,) * ROWS))
    assert [look.step for look in found.looks] == [0, 10, 20]


def test_the_error_is_that_of_the_paired_difference() -> None:
    one, other = Look(1, (1.0, 3.0, 2.0)), Look(2, (0.9, 2.7, 1.8))
    assert 1 < errors_above(one, other, (1, 1, 1)) < 6
    assert errors_above(other, one, (1, 1, 1)) == 0
    assert errors_above(Look(1, (1.0,)), Look(2, (0.5,)), (4,)) == float("inf")
