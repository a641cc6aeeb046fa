"""Work on a few things at once, with the results in order: reading, computing and writing overlap."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
CORES = os.cpu_count() or 1
AT_ONCE = min(8, CORES)


def in_order(work: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """What each piece of work yields. AT_ONCE of them are worked on at a time, and no more than twice as many wait."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(AT_ONCE, initializer=torch.set_num_threads, initargs=(max(1, CORES // AT_ONCE),)) as pool:
        try:
            for piece in work:
                waiting.append(pool.submit(piece))
                if len(waiting) == 2 * AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
