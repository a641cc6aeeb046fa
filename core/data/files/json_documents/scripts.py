"""JavaScript files that only give a name to a list of rows: `window.faq = [...]`, `export default [...]`."""

import re
from collections.abc import Iterator

from fitune.core.data.values import Row, Skip
from fitune.core.errors import UserError

SUFFIXES = (".js", ".mjs", ".cjs")
NAMED = re.compile(
    rb"\s*(?:(?://[^\n]*\n|/\*.*?\*/|[\"']use strict[\"'];?)\s*)*"
    rb"(?:export\s+default\s*|(?:(?:export\s+)?(?:const|let|var)\s+)?[\w$]+(?:\.[\w$]+)*\s*=\s*)(?=[\[{])",
    re.DOTALL,
)
"""Comments, and the name of what follows."""
CURE = (
    "Open a browser's console (F12), paste the file without the word export, write copy(JSON.stringify(NAME)) with the "
    "name of the list, and paste what was copied into a file that ends in .json."
)


def begin_of_rows(name: str, head: bytes) -> int:
    """The place of the list or object that is given a name. Raises UserError for any other program."""
    if found := NAMED.match(head):
        return found.end()
    raise UserError(f"{name} is a program: it does not begin by giving a name to a list of rows.", CURE)


def rows_of_script(rows: Iterator[tuple[int, Row | Skip]]) -> Iterator[tuple[int, Row | Skip]]:
    """The rows. Raises UserError with another cure where the list is not JSON, or where more follows it."""
    try:
        yield from rows
    except UserError as error:
        raise UserError(f"{error.message} JavaScript is read only where it holds one list in JSON.", CURE) from None
