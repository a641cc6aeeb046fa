"""A count of rows that are the same, in bounded memory."""

from array import array

MAX_KEPT = 1 << 21


class Duplicates:
    """Counts rows by an 8-byte hash of their content.

    Exact up to 2**21 rows (16 MB; as much again while counting). Beyond that only hashes that end in k zero bits are
    kept, of all rows alike, and the count is the kept one times 2**k: same rows have the same hash, so whole groups
    stay or go. Two different rows share a hash with a chance of n**2 / 2**65, which is 1e-7 for 2 million rows.
    """

    def __init__(self) -> None:
        self._hashes = array("q")
        self._mask = 0

    @property
    def is_exact(self) -> bool:
        return self._mask == 0

    def add(self, hashes: list[int]) -> None:
        """Take the hashes of some rows into account."""
        self._hashes.fromlist(hashes if self.is_exact else [each for each in hashes if not each & self._mask])
        while len(self._hashes) > MAX_KEPT:
            self._mask = self._mask * 2 + 1
            self._hashes = array("q", (each for each in self._hashes if not each & self._mask))

    def count(self) -> int:
        """Rows that repeat an earlier one."""
        if not self._hashes:
            return 0
        import numpy

        hashes = numpy.sort(numpy.frombuffer(self._hashes, dtype=numpy.int64))
        return int((hashes[1:] == hashes[:-1]).sum()) * (self._mask + 1)
