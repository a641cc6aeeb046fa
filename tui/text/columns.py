"""Text behind a heading, and tables, as the width of the terminal allows."""

import shutil
import sys
import textwrap
from collections.abc import Container, Sequence

NARROWEST = 20


def hanging(start: str, said: str) -> str:
    """`said` behind `start`: wrapped to the terminal's width, or in one line where it is no terminal."""
    if not sys.stdout.isatty():
        return start + said
    columns = max(shutil.get_terminal_size().columns, len(start) + NARROWEST)
    lines = textwrap.wrap(said, columns - len(start), break_on_hyphens=False, break_long_words=False)
    return start + ("\n" + " " * len(start)).join(lines)


def table(rows: Sequence[Sequence[str]], numbers: Container[int] = ()) -> str:
    """Lines of columns, those of numbers flush right. Where the terminal is too narrow for them, the first column
    stands over the others."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    wanted = sum(widths) + 2 * (len(widths) - 1)
    too_wide = sys.stdout.isatty() and wanted > shutil.get_terminal_size().columns
    lines = []
    for row in rows:
        first, *others = (
            text.rjust(width) if place in numbers else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines += [first, "  ".join(["", *others])] if too_wide else ["  ".join([first, *others])]
    return "\n".join(line.rstrip() for line in lines)
