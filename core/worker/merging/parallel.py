"""Run a few tasks at once and yield their results in order: reading, computing and writing overlap."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
CORES = os.cpu_count() or 1
WORKERS = min(8, CORES)


def run_in_order(tasks: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """The result of each task. WORKERS of them run at a time, and at most twice as many are pending."""
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(max(1, CORES // WORKERS),)) as pool:
        try:
            for task in tasks:
                pending.append(pool.submit(task))
                if len(pending) == 2 * WORKERS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
