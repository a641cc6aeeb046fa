"""Rows that say nearly the same as an earlier one, found by minhash (rensa) of the words that follow each other."""

import time
from array import array
from collections.abc import Iterator
from typing import Any

from fitune.core.data.shingles import ALIKE, FEWEST_WORDS, runs_of_three
from fitune.core.data.values import Row

PERMUTATIONS, BANDS = 72, 12
"""At 0.8, of which 12 bands miss 3 in 100 pairs; an estimate from 72 permutations is off by 0.05 (one sigma)."""
MOST_ROWS = 200_000
"""So many rows are compared at most: 360 bytes each ..."""
SECONDS, BYTES = 1.0, 200_000_000
"""... and for no longer than a second (of this thread, on the processor; 0.02 ms for a row of a hundred words); less
where a source has more bytes than this: a fifth of a second for 1 GB, which takes long enough to read."""
TIMED_EACH = 16
"""One in so many additions is timed, and stands for all: to ask for the thread's time costs as much as to compare."""
MIX = 0x9E3779B97F4A7C15
"""An odd number, by which the marks of a band are mixed into one."""


class Similar:
    """The rows that are compared, those that come first in a source of so many bytes."""

    def __init__(self, total_bytes: int) -> None:
        self._marks = array("I")
        self._places: list[str] = []
        self._seen: set[int] = set()
        self._left_s = SECONDS * min(1.0, BYTES / max(1, total_bytes))
        self._additions = 0
        self.rows = 0
        """Rows that were compared."""
        self.is_open = True
        """False once there is no time left, or no room."""

    def add(self, rows: Iterator[tuple[Row, int, str]]) -> None:
        """Compare some more rows, each with the hash of its content and its place; equal rows count once."""
        from rensa import RMinHash  # not at the top: a report on an empty file needs none of it

        is_timed = self._additions % TIMED_EACH == 0
        self._additions += 1
        start_s = time.thread_time() if is_timed else 0.0
        for row, mark, where in rows:
            self.rows += 1
            found = [] if mark in self._seen else runs_of_three(row)
            self._seen.add(mark)
            if len(found) >= FEWEST_WORDS:
                hashed = RMinHash(num_perm=PERMUTATIONS, seed=1)
                hashed.update(found)
                self._marks.extend(hashed.digest())
                self._places.append(where)
        if is_timed:
            self._left_s -= TIMED_EACH * (time.thread_time() - start_s)
        self.is_open = self.rows < MOST_ROWS and self._left_s > 0

    def alike(self) -> list[tuple[str, str]]:
        """The place of each row that says nearly the same as an earlier one, and that one's place; in order."""
        if not self._places:
            return []
        import numpy

        marks = numpy.frombuffer(self._marks, dtype=numpy.uint32).reshape(-1, PERMUTATIONS)
        first = numpy.arange(len(marks))
        for band in numpy.split(marks, BANDS, axis=1):
            earliest = _first_with_same(band)
            asked = numpy.flatnonzero((earliest < first) & (first == numpy.arange(len(marks))))
            equal = (marks[asked] == marks[earliest[asked]]).mean(axis=1)
            first[asked[equal >= ALIKE]] = earliest[asked[equal >= ALIKE]]
        later = numpy.flatnonzero(first < numpy.arange(len(marks)))
        return [(self._places[row], self._places[first[row]]) for row in later]


def _first_with_same(band: Any) -> Any:
    """Of each row of a table of numbers the first row that holds the same."""
    import numpy

    mixed = numpy.zeros(len(band), dtype=numpy.uint64)
    for column in band.T:
        mixed = (mixed ^ column) * numpy.uint64(MIX)
    _, firsts, places = numpy.unique(mixed, return_index=True, return_inverse=True)
    return firsts[places]
