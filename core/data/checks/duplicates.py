"""A count of rows that are the same, in bounded memory."""

from array import array

from fitune.core.data.values import Row

MAX_KEPT = 1 << 21


class Duplicates:
    """Counts rows by an 8-byte hash of their content.

    Exact up to 2**20 different rows (16 MB; as much again while counting). Beyond that only hashes that end in k zero
    bits are kept, of all rows alike, and a repeat among them counts 2**k times: same rows have the same hash, so whole
    groups stay or go. Two different rows share a hash with a chance of n**2 / 2**65, which is 1e-7 for 2 million rows.
    """

    def __init__(self) -> None:
        self._hashes = array("q")
        self._mask = self._repeats = 0

    @property
    def is_exact(self) -> bool:
        return self._mask == 0

    def add(self, hashes: list[int]) -> None:
        """Take the hashes of some rows into account."""
        self._hashes.fromlist(hashes if self.is_exact else [each for each in hashes if not each & self._mask])
        if len(self._hashes) > MAX_KEPT:
            self._keep_each_once()
            self._keep_fewer()

    def count(self) -> int:
        """Rows that repeat an earlier one; about so many where the count is not exact."""
        if self._hashes:
            self._keep_each_once()
        return self._repeats

    def _keep_each_once(self) -> None:
        import numpy

        once = numpy.unique(numpy.frombuffer(self._hashes, dtype=numpy.int64))
        self._repeats += (len(self._hashes) - len(once)) * (self._mask + 1)
        self._hashes = array("q", once.tobytes())

    def _keep_fewer(self) -> None:
        while len(self._hashes) > MAX_KEPT // 2:
            self._mask = self._mask * 2 + 1
            self._hashes = array("q", (each for each in self._hashes if not each & self._mask))


def mark_of(row: Row) -> int:
    """A hash of a canonical row's content, good within this process."""
    messages = row.get("messages")
    if "images" in row:
        return hash(repr(row))
    if messages is None:
        return hash(tuple(row.values()))
    if "rejected" in row or "label" in row:
        return hash(repr(row))
    if all(len(message) == 2 for message in messages):
        return hash(tuple([message["content"] for message in messages]))
    return hash(repr(messages))
