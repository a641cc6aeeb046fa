"""A small sweep: one variant of a recipe for each combination of the values that fields are given."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from fitune.core.errors import UserError

MOST_VARIANTS = 100
MOST_SUFFIX_CHARS = 60
CLOSING = {"[": "]", "{": "}", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One combination of values."""

    overrides: tuple[str, ...]
    """`group.key=value` pairs with one value each."""
    suffix: str
    """The values that set it apart from the others, for the name of its run: `r8-seed1`. Empty if it is the only
    one."""


def variants(overrides: Sequence[str]) -> tuple[Variant, ...]:
    """The combinations of `group.key=value,value` pairs; of pairs with one value each, the only one.

    A comma within quotes, brackets or braces parts nothing. Raises UserError for more than MOST_VARIANTS.
    """
    choices = [tuple(_single(pair)) for pair in overrides]
    found: list[Variant] = []
    for combination in product(*choices):
        if len(found) == MOST_VARIANTS:
            raise UserError(f"These values make more than {MOST_VARIANTS} entries.", "Give fewer of them.")
        varied = [pair for pair, options in zip(combination, choices, strict=True) if len(options) > 1]
        found.append(Variant(combination, "-".join(map(_word, varied))[:MOST_SUFFIX_CHARS].rstrip("-.")))
    if len({each.suffix for each in found}) < len(found):  # long values that begin alike
        return tuple(Variant(each.overrides, str(number)) for number, each in enumerate(found, 1))
    return tuple(found)


def _single(pair: str) -> Iterator[str]:
    """A pair for each of its values."""
    name, equals, values = pair.partition("=")
    for value in _parts(values):
        yield f"{name}{equals}{value}"


def _parts(text: str) -> Iterator[str]:
    """The parts of a text between its commas, but for those within quotes, brackets or braces."""
    start, open_marks = 0, list[str]()
    for at, char in enumerate(text):
        if open_marks and char == CLOSING[open_marks[-1]]:
            open_marks.pop()
        elif char in CLOSING and not (open_marks and open_marks[-1] in "\"'"):
            open_marks.append(char)
        elif char == "," and not open_marks:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _word(pair: str) -> str:
    """A pair as part of a run's name: `lora.r=8` is `r8`."""
    name, _, value = pair.partition("=")
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name.rpartition(".")[2] + value.strip()).strip("-.")
