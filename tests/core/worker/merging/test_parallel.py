"""Tasks run a few at a time, with their results in order."""

import threading
import time
from functools import partial

import pytest


def test_results_come_in_the_order_of_the_work() -> None:
    from fitune.core.worker.merging.parallel import run_in_order

    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 4 == 0 else 0)
        return number

    assert list(run_in_order(partial(slow_first, number) for number in range(40))) == list(range(40))


def test_no_more_is_begun_than_memory_was_asked_for() -> None:
    from fitune.core.worker.merging.parallel import WORKERS, run_in_order

    begun: list[int] = []
    threads = threading.active_count()
    results = run_in_order(partial(begun.append, number) for number in range(1000))
    next(results)
    time.sleep(0.1)
    assert len(begun) <= 2 * WORKERS
    results.close()
    assert threading.active_count() == threads


def test_what_fails_is_raised_in_its_turn() -> None:
    from fitune.core.worker.merging.parallel import run_in_order

    def divide(number: int) -> float:
        return 1 / (3 - number)

    results = run_in_order(partial(divide, number) for number in range(9))
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
