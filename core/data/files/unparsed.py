"""JSON lines of which everything is known that a count of rows needs."""

from collections.abc import Callable, Sequence
from typing import overload

import orjson

from fitune.core.data.values import Row

Marks = list[int]
"""Hashes of the content of rows, one a row."""
Marker = Callable[[list[bytes]], Marks | None]
"""Answers the marks of the rows in some JSON lines; None where the rows themselves are wanted."""


class Unparsed(Sequence[Row]):
    """The rows of such lines; each is parsed when it is asked for."""

    def __init__(self, lines: list[bytes], marks: Marks) -> None:
        self._lines = lines
        self.marks = marks

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Unparsed": ...
    def __getitem__(self, place: int | slice) -> "Row | Unparsed":
        if isinstance(place, slice):
            return Unparsed(self._lines[place], self.marks[place])
        row: Row = orjson.loads(self._lines[place])
        return row
