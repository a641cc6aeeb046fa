"""Rows of which another row says nearly the same: held out they would prove nothing."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from fitune.core.data.shingles import ALIKE, FEWEST_WORDS, shingles, text_of
from fitune.core.data.values import Row

RUNS_TRIED = 12
"""So many runs of words of each row are looked for in those asked about: of a twin, all twelve miss once in 10 ** 8."""
CHARS_A_WORD = 12
"""A text of longer words has no spaces between them, as Chinese."""
SHARED_MOST = 16
"""Words in more than so many of the rows asked about, such as an instruction, tell nothing."""


def with_a_twin(
    rows: Sequence[Row], asked: Sequence[int], same: Mapping[int, int], among: Collection[int] | None = None
) -> set[int]:
    """Those of the rows at the places `asked` of which another row says nearly the same, by the Jaccard index of their
    shingles. same: the first of the rows that equal the row at a place; it is no twin of itself. among: the places of
    the rows that may be twins; None for all."""
    own = {place: shingles(rows[place]) for place in asked}
    holders = _holders(own)
    common = {shingle for shingle, places in holders.items() if len(places) > SHARED_MOST}
    own = {place: found - common for place, found in own.items() if len(found - common) >= FEWEST_WORDS}
    runs = {place: set(_runs(rows[place])) for place in own}
    common_runs = {run for run, count in Counter(chain.from_iterable(runs.values())).items() if count > 2}
    anchors = set().union(*runs.values()) - common_runs
    twins: set[int] = set()
    for place, row in enumerate(rows):
        if (among is not None and place not in among) or anchors.isdisjoint(_runs(row, RUNS_TRIED)):
            continue
        found = shingles(row) - common
        near = {holder for shingle in found & holders.keys() for holder in holders[shingle]} & own.keys()
        twins |= {other for other in near - {place, same.get(place)} if _are_alike(own[other], found)}
    return twins


def _holders(own: Mapping[int, set[str]]) -> dict[str, list[int]]:
    """Shingle -> the places of the rows that hold it."""
    holders: dict[str, list[int]] = {}
    for place, found in own.items():
        for shingle in found:
            holders.setdefault(shingle, []).append(place)
    return holders


def _runs(row: Row, tried: int | None = None) -> Iterator[tuple[str, ...]]:
    """Every three words that follow each other, marks and all; with `tried` only about so many, from all over the row.

    Quicker than shingles: most rows can be passed over by a few of these.
    """
    text = text_of(row)
    words = text.split()
    words = words if len(words) * CHARS_A_WORD > len(text) else list(text)
    step = max(1, len(words) // tried) if tried else 1
    return zip(words[::step], words[1::step], words[2::step], strict=False)


def _are_alike(one: set[str], other: set[str]) -> bool:
    both = len(one & other)
    return both >= ALIKE * (len(one) + len(other) - both)
