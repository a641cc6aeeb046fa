"""How often a training looks at its held-out rows and saves, where its recipe leaves it open."""

import pytest

from fitune.core.intervals import steps_between, times_in


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
