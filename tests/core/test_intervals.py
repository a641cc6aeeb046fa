"""How often a training looks at its held-out rows and saves, where its recipe leaves it open."""

import pytest

from fitune.core.intervals import SAVE_APART_S, checkpoint_s, most_in, steps_between, times_in


@pytest.mark.parametrize(
    ("total", "every", "times"),
    [(1, 20, 1), (24, 24, 1), (30, 20, 2), (40, 20, 2), (141, 21, 7), (250, 25, 10), (934, 94, 10), (1000, 100, 10)],
)
def test_about_ten_times_in_a_run_and_in_short_ones_less(total: int, every: int, times: int) -> None:
    assert steps_between(None, total) == every
    assert times_in(every, total) == times


def test_none_comes_just_before_the_one_at_the_end() -> None:
    for total in range(1, 3000):
        every = steps_between(None, total)
        after_the_last_but_one = total - (total - 1) // every * every
        assert after_the_last_but_one >= min(total, every / 2 - 1), total


def test_what_a_recipe_asks_is_kept() -> None:
    assert steps_between(7, 1000) == 7


@pytest.mark.parametrize(("seconds", "times"), [(0, 1), (SAVE_APART_S - 1, 1), (SAVE_APART_S + 1, 2), (1e6, 7)])
def test_a_short_training_saves_less_often(seconds: float, times: int) -> None:
    assert most_in(7, seconds) == times


@pytest.mark.parametrize(("size_bytes", "measured_s"), [(59e6, 0.4), (252e6, 1.2), (503e6, 1.95)])
def test_a_checkpoint_takes_the_seconds_that_were_measured(size_bytes: float, measured_s: float) -> None:
    assert checkpoint_s(round(size_bytes)) == pytest.approx(measured_s, rel=0.1)
