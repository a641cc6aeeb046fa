"""The rows of a CSV or TSV file, as spreadsheets and other programs really write them."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from fitune.core.data.files.streams import Note, utf8_line
from fitune.core.data.shapes.columns import kind_of_texts
from fitune.core.data.shapes.names import is_a_text, roles_of
from fitune.core.data.values import Row, Skip
from fitune.core.errors import UserError

MAX_FIELD_CHARS = 1 << 26
"""A longer field is taken for a quote that was never closed."""
HEAD_LINES, TSV_CHARS = 200, 1 << 22
"""Looked at to tell the form of a file, and whether a TSV file quotes its fields: few texts begin with a quote."""
TITLE_LINES = 5
"""So many lines may stand above the names of the columns."""
DELIMITERS = ",;\t|"
ONE_OF_EACH = {"question", "answer", "text", "chat"}
"""Roles of columns of which there must not be two of one name."""


def csv_rows(lines: Iterable[bytes], name: str, delimiter: str, note: Note) -> Iterator[tuple[int, Row | Skip]]:
    """The rows behind a line of names, each with its line. delimiter: empty where the first line shows it."""
    csv.field_size_limit(MAX_FIELD_CHARS)
    texts = (utf8_line(line, number, note) for number, line in enumerate(lines, 1))
    first, skipped = _first(texts)
    if first.lower().startswith("sep="):  # a line for Excel
        delimiter = first.strip()[4:5] or delimiter
        first, more = _first(texts)
        skipped += more
    head = [first, *islice(texts, HEAD_LINES)]
    above = _lines_above(head)
    head, skipped = head[above:], skipped + above
    delimiter = delimiter or max(DELIMITERS, key=head[0].count)
    begin = _begin(head, texts) if delimiter == "\t" else head
    unquoted = delimiter == "\t" and not _is_quoted(begin)
    last = _Last(chain(begin, texts))
    reader = csv.reader(
        last,
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL,
        quotechar=_quote(head, delimiter),
        skipinitialspace=_has_spaces(head, delimiter),
    )
    try:
        header = _header(next(reader, []), name)
    except csv.Error as error:
        why = "its lines end with a carriage return alone" if "new-line" in str(error) else str(error)
        raise UserError(f"{name}:1: is not valid CSV: {why}.", "Save it anew as CSV (UTF-8).") from None
    if is_row(header, _fields(head[1:], delimiter)):
        note("header", 1)
    while True:
        before = reader.line_num
        number = before + skipped
        try:
            record = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error) or reader.line_num - before > 1:
                hint = (
                    'A quote inside a quoted field is written twice: "". If the file breaks off there, fetch it again.'
                )
                raise UserError(f"{name}:{number}: a quote is opened and not closed again.", hint) from None
            yield number, Skip("bad_line", f"is not valid CSV: {_why(error, last.line)}.")
            continue
        if record is None:
            return
        if record == header:
            yield number, Skip("bad_line", "repeats the names of the columns, as where two files were joined.")
        elif record:
            yield number, _row(header, record)


def _first(texts: Iterable[str]) -> tuple[str, int]:
    """The next line with something on it, and how many were read for it."""
    for count, text in enumerate(texts, 1):
        if text.strip():
            return text, count
    return "", 1


def _begin(head: list[str], texts: Iterator[str]) -> list[str]:
    """The lines of a head, and of those behind it as many as TSV_CHARS hold."""
    lines, chars = list(head), 0
    while chars < TSV_CHARS and (line := next(texts, "")):
        lines.append(line)
        chars += len(line)
    return lines


class _Last:
    """Lines that pass, the last of which is known."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self.line = iter(lines), ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.line = next(self._lines)
        return self.line


def _lines_above(head: Sequence[str]) -> int:
    """The lines above the names of the columns: remarks, or a title, if known names follow soon."""
    for place, line in enumerate(head[:TITLE_LINES]):
        delimiter = max(DELIMITERS, key=line.count)
        cells = [cell.strip(' "\r\n') for cell in line.split(delimiter)]
        if sum(map(bool, cells)) > 1 and not line.startswith("#"):
            return place if sum(map(bool, map(roles_of, cells))) > 1 else 0
    return 0


def _has_spaces(head: Sequence[str], delimiter: str) -> bool:
    """True if a space stands between a delimiter and a quote: `one, "two"`."""
    return any(f'{delimiter} "' in line for line in head[1:]) and not any(f'{delimiter}"' in line for line in head[1:])


def _quote(head: Sequence[str], delimiter: str) -> str:
    """The mark around fields: a single quote where it stands on both sides of a delimiter in each line."""
    lines = [line for line in head[1:] if line.strip()]
    return "'" if lines and all(f"'{delimiter}'" in line for line in lines) else '"'


def _is_quoted(head: list[str]) -> bool:
    """True if the quotes in these lines of a TSV file are those of CSV; most programs write TSV without."""
    try:
        for _ in csv.reader(io.StringIO("".join(head)), delimiter="\t", strict=True):
            pass
    except csv.Error:
        return False
    return True


def _why(error: csv.Error, line: str) -> str:
    if '\\"' in line:
        return 'a quote is written as \\" (an escape with a backslash); CSV writes it twice: ""'
    return str(error)


def _row(header: list[str], record: list[str]) -> Row | Skip:
    """The fields by name. Empty ones at the end of a line may be missing, or too many."""
    if not any(record[len(header) :]):
        record = record[: len(header)]
    missing = len(header) - len(record)
    if missing < 0 or (missing and len(record) == 1):
        text = f"has {len(record)} fields where the header has {len(header)}"
        hint = "; a text with commas in it needs quotes around it" if missing < 0 else ""
        return Skip("bad_line", f"{text}{hint}.")
    return dict(zip(header, record + [""] * missing, strict=True))


def _header(cells: list[str], name: str) -> list[str]:
    given = [cell.strip() or f"unnamed_{n}" for n, cell in enumerate(cells, 1)]
    first = {each: place for place, each in reversed(list(enumerate(given)))}
    names = [each if first[each] == place else f"{each}_{place + 1}" for place, each in enumerate(given)]
    if twice := [each for place, each in enumerate(given) if first[each] != place and ONE_OF_EACH & roles_of(each)]:
        raise UserError(f"{name}:1: two columns are named {twice[0]}.", "Give each column a name of its own.")
    return names


def _fields(lines: list[str], delimiter: str) -> list[list[str]]:
    """The fields of some lines; none where they are broken, which is told of their own rows."""
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return []


def is_row(header: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """True if the line of names is rather a row, like those below: it holds texts, and nothing that only a name would
    be."""
    if not below or not any(map(is_a_text, header)):
        return False
    return not any(_is_name(name, values) for name, values in zip(header, zip(*below, strict=False), strict=False))


def _is_name(name: str, values: Sequence[str]) -> bool:
    """True if this is a name by what stands below it: a known one that does not come again, or words above numbers."""
    if name in values:
        return False
    kind = kind_of_texts([value.strip() for value in values if value.strip()])
    return bool(roles_of(name)) or (kind in ("number", "date", "path", "id") and kind_of_texts([name]) != kind)
