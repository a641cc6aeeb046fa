"""What the model will learn from: a source of any common kind as a stream of canonical rows."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import orjson

from core import sources
from core.errors import BadInput, Problem, UserError
from core.formats import Row, Skip, converter, recognise
from core.recipe_fields import Data

HEAD_ROWS = 100
"""Rows looked at to recognise a format."""


def rows(data: Data, limit: int | None = None, on_skip: Callable[[Problem], None] | None = None) -> Iterator[Row]:
    """Canonical rows, in file order: {"messages": [...]}, {"prompt", "completion"} or {"text"}.

    limit: at most so many. on_skip: told of each row that can't be used. Raises UserError where the source can't be
    read, BadInput where its format can't be trained on.
    """
    return islice(_rows(data, on_skip), limit)


def _rows(data: Data, on_skip: Callable[[Problem], None] | None) -> Iterator[Row]:
    path = Path(data.source)
    head = [row for _, row in islice(sources.read(path), HEAD_ROWS) if isinstance(row, dict)]
    if not head:
        raise UserError(f"{data.source} has no rows.", "It needs one JSON object a line.")
    shape = recognise(head, data)
    if shape.problems:
        raise BadInput(shape.problems)
    convert = converter(shape)
    for number, row in sources.read(path):
        try:
            if isinstance(row, Problem):
                if on_skip:
                    on_skip(row)
                continue
            yield from convert(row)
        except Skip as skip:
            if on_skip:
                on_skip(Problem(f"{path.name}:{number}", skip.text))


def held_out(row: Row, fraction: float, seed: int) -> bool:
    """Whether a canonical row belongs to the held-out part: by its content, so duplicates fall on the same side."""
    key = orjson.dumps([seed, row], option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") < fraction * 2**64
