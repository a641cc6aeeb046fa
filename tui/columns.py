"""Text behind a heading, under itself where the terminal's line ends."""

import shutil
import sys
import textwrap

NARROWEST = 20


def hanging(start: str, said: str) -> str:
    """`said` behind `start`: wrapped to the terminal's width, or in one line where it is no terminal."""
    if not sys.stdout.isatty():
        return start + said
    columns = max(shutil.get_terminal_size().columns, len(start) + NARROWEST)
    lines = textwrap.wrap(said, columns - len(start), break_on_hyphens=False, break_long_words=False)
    return start + ("\n" + " " * len(start)).join(lines)
