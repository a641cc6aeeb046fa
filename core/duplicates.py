"""How many rows are the same, in bounded memory."""

from array import array

MAX_KEPT = 1 << 21


class Duplicates:
    """Counts rows by an 8-byte hash of their content.

    Exact up to 2**21 rows (16 MB; as much again while counting). Beyond that only hashes that end in k zero bits are
    kept, of all rows alike, and the count is the kept one times 2**k: same rows have the same hash, so whole groups
    stay or go. Two different rows share a hash with a chance of n**2 / 2**65, which is 1e-7 for 2 million rows.
    """

    def __init__(self) -> None:
        self.hashes = array("q")
        """Append to it directly (it is the hot path), but only a hash with `not hash & self.mask`."""
        self.mask = 0

    @property
    def is_exact(self) -> bool:
        return self.mask == 0

    def thin(self) -> None:
        """Keep the memory bounded; call it every few thousand rows."""
        while len(self.hashes) > MAX_KEPT:
            self.mask = self.mask * 2 + 1
            self.hashes = array("q", (each for each in self.hashes if not each & self.mask))

    def count(self) -> int:
        """Rows that repeat an earlier one."""
        if not self.hashes:
            return 0
        import numpy

        hashes = numpy.sort(numpy.frombuffer(self.hashes, dtype=numpy.int64))
        return int((hashes[1:] == hashes[:-1]).sum()) * (self.mask + 1)
