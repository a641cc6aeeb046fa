"""One pass over the raw rows of a source, counting what is good and what is odd. Says nothing: core.data.report does.

Every row is parsed, converted and compared; what is only looked for (secrets, addresses, garbled text, answers that
stand in the question, column types) is looked for in the first CLOSE_ROWS rows and one in 256 after that, so that a
pass costs less than twice what parsing alone does.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fitune.core.data.canonical import converter, is_said
from fitune.core.data.chats.grouped import grouped
from fitune.core.data.chats.speakers import turn_trouble
from fitune.core.data.checks.batch import marker
from fitune.core.data.checks.duplicates import Duplicates, mark_of
from fitune.core.data.checks.languages import language_of
from fitune.core.data.checks.oddities import is_held_out, oddities, rating
from fitune.core.data.checks.similar import Similar
from fitune.core.data.exchange import exchange_of
from fitune.core.data.files.find import opened
from fitune.core.data.files.listing import Source, SourceFile
from fitune.core.data.files.parquet_rows import rows_in_parquet
from fitune.core.data.files.readers import Batches, batches
from fitune.core.data.files.unparsed import Marker, Marks, Unparsed
from fitune.core.data.images.files import beside
from fitune.core.data.shapes.shape import CHAT_FORMATS, Shape
from fitune.core.data.values import Row, Skip, kind_name
from fitune.core.errors import UserError

CLOSE_ROWS = 5_000
CLOSE_STRIDE, CLOSE_PARTS = 256, 500
"""Rows are looked at closely up to CLOSE_ROWS, then one in CLOSE_STRIDE, then one in each five hundredth so far."""
PLACES_KEPT = 20
"""So many places are kept of each kind of oddity; all are counted."""
TICK_ROWS = 4096
LABEL_CHARS, LABELS_KEPT = 40, 50
SHORTEST_CUT, PROSE_SPACES = 60, 8
"""Characters and spaces of an answer in prose that a limit of some program may have cut."""
LANGUAGE_ROWS, LANGUAGE_STRIDE = 1000, 5
"""The language is told of the first so many of the rows looked at closely, then of one in so many: it takes 0.1 ms."""
HEAD_ROWS = 2000
"""The head of a source: so many rows ..."""
HEAD_BYTES = 1 << 23
"""... or so many bytes and a batch, where rows are long."""


@dataclass(slots=True)
class Scan:
    """The findings of a pass over the rows."""

    raw_rows: int = 0
    """Rows of the source, blank lines left out."""
    used_rows: int = 0
    """Canonical rows made of them."""
    image_rows: int = 0
    """Those of them with images."""
    skipped_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Rows by kind of oddity."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """The first PLACES_KEPT places of each kind, as `file:line what`."""
    close_rows: int = 0
    """Raw rows looked at closely."""
    types: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Column -> kinds of value, among the rows looked at closely."""
    preview: list[Row] = field(default_factory=list)
    """Canonical rows; raw ones where they can't be read as any format."""
    duplicates: Duplicates = field(default_factory=Duplicates)
    first_places: dict[int, str] = field(default_factory=dict)
    """Hash of a row -> where it stood first, among the first CLOSE_ROWS."""
    similar: Similar | None = None
    """The rows that are compared, to find those that say nearly the same ..."""
    languages: Counter[str] | None = None
    """... and answers by language, among the rows looked at closely; None where the head is read, which must be quick.
    """
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers among the rows looked at closely, each as its beginning and a hash of all of it: labels, if there are few
    of them."""
    longest: int = 0
    """Characters of the longest answer in prose among the rows looked at closely ..."""
    as_long: set[int] = field(default_factory=set)
    """... and a hash of each answer of that length which ends within a sentence."""
    ratings: defaultdict[str, Counter[float]] = field(default_factory=lambda: defaultdict(Counter))
    """Column that rates answers by its name -> its numbers, among the rows looked at closely."""
    broken: UserError | None = None
    """The reason why reading ended early."""
    complete: bool = True
    bytes_done: int = 0

    def note(self, kind: str, where: str, text: str = "") -> None:
        self.counts[kind] += 1
        places = self.places.setdefault(kind, [])
        if len(places) < PLACES_KEPT:
            places.append(f"{where} {text}".strip())


def scan(
    source: Source,
    split: str,
    shape: Shape,
    sample: int,
    head_only: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    image_folder: str | None = None,
) -> Scan:
    """Read the rows of a source, all or those of the head, and count.

    sample: canonical rows to keep. on_progress: told (bytes done, bytes in all) now and then.
    A file that can't be read to its end is not raised but ends the pass, in `broken`.
    """
    total_bytes = sum(file.size_bytes for file in source.files)
    found = Scan() if head_only else Scan(similar=Similar(total_bytes), languages=Counter())
    done_bytes = 0

    def progress(bytes_in_file: int) -> None:
        found.bytes_done = done_bytes + bytes_in_file
        if on_progress:
            on_progress(found.bytes_done, total_bytes)

    try:
        for file in source.files:
            found.complete = _scan_file(found, file, split, shape, sample, head_only, progress, image_folder)
            if not found.complete:
                break
            done_bytes += file.size_bytes
            progress(0)
    except UserError as error:
        found.broken = error
    for where, earlier in found.similar.alike() if found.similar else ():
        found.note("near_duplicate", where, f"says nearly the same as {earlier}.")
    return found


def _scan_file(
    found: Scan,
    file: SourceFile,
    split: str,
    shape: Shape,
    sample: int,
    head_only: bool,
    progress: Callable[[int], None],
    image_folder: str | None,
) -> bool:
    """Count the rows of one file; False where the head ended first."""
    convert = converter(shape.format, shape.columns) if shape.is_usable else _nothing

    def note(kind: str, line: int) -> None:
        found.note(kind, f"{file.name}:{line}")

    def enough(number: int) -> bool:
        bytes_done = file.size_bytes * number // parquet_rows if parquet_rows else raw.tell()
        progress(bytes_done)
        return head_only and (number >= HEAD_ROWS or bytes_done > HEAD_BYTES)

    with opened(file) as raw:
        parquet_rows = rows_in_parquet(raw)
        rows = grouped(batches(raw, file.name, split, note, _marks_after_close_rows(found, shape)), shape.columns)
        to_rows = beside(convert, file, image_folder)
        return _count(found, rows, file.name, shape, to_rows, sample, 1 if head_only else TICK_ROWS, enough)


def _count(
    found: Scan,
    rows_read: Batches,
    name: str,
    shape: Shape,
    convert: Callable[[Row], list[Row]],
    sample: int,
    tick_rows: int,
    enough: Callable[[int], bool],
) -> bool:
    """Count rows until `enough`, asked every tick_rows with the last row's number, says so: then False."""
    next_tick, next_close = found.raw_rows + tick_rows, 0
    for numbers, rows in rows_read:
        if isinstance(rows, Unparsed):
            found.raw_rows += len(rows)
            found.used_rows += len(rows)
            found.duplicates.add(rows.marks)
            if found.similar and found.similar.is_open:
                found.similar.add(_converted(rows, convert, name, numbers))
            if found.raw_rows >= next_close:
                next_close = found.raw_rows + max(CLOSE_STRIDE, found.raw_rows // CLOSE_PARTS)
                _look_closely(found, rows[0], convert(rows[0]), f"{name}:{numbers[0]}")
        else:
            for number, row in zip(numbers, rows, strict=True):
                _count_row(found, row, convert, shape, f"{name}:{number}", sample)
        if found.raw_rows >= next_tick:
            next_tick = found.raw_rows + tick_rows
            if enough(numbers[-1]):
                return False
    return True


def _count_row(
    found: Scan, row: Row | Skip, convert: Callable[[Row], list[Row]], shape: Shape, where: str, sample: int
) -> None:
    found.raw_rows += 1
    made: list[Row] = []
    try:
        if isinstance(row, Skip):
            raise row
        made = convert(row)
    except Skip as skip:
        found.skipped_rows += 1
        found.note(skip.kind, where, skip.text)
    found.used_rows += len(made)
    found.image_rows += sum("images" in each for each in made)
    for each in made:
        roles = tuple([message["role"] for message in each["messages"]]) if shape.format in CHAT_FORMATS else ()
        if roles and (trouble := turn_trouble(roles)):
            found.note(trouble, where)
        compared = "rejected" in each or "label" in each  # of which only the last answer is learned
        for kind in {"marked" if is_said(message) else "empty_turn" for message in each.get("messages", ())
                     if message.get("train") is False and not compared}:  # fmt: skip
            found.note(kind, where)
        mark = mark_of(each)
        found.duplicates.add([mark])
        if found.raw_rows <= CLOSE_ROWS and (first := found.first_places.setdefault(mark, where)) is not where:
            found.note("duplicate", where, f"is the same as {first}.")
        if found.similar and found.similar.is_open and "images" not in each:
            found.similar.add(iter([(each, mark, where)]))
    if found.raw_rows <= CLOSE_ROWS or not found.raw_rows % CLOSE_STRIDE:
        _look_closely(found, row, made, where)
    seen = made if shape.is_usable else [row] if isinstance(row, dict) else []
    found.preview += seen[: max(0, sample - len(found.preview))]


def _marks_after_close_rows(found: Scan, shape: Shape) -> Marker:
    """Marks of many JSON lines at once, once CLOSE_ROWS were looked at: these tell which columns there are."""
    marks_of: Marker | None = None
    columns: tuple[str, ...] = ()

    def marks(lines: list[bytes]) -> Marks | None:
        nonlocal marks_of, columns
        if found.raw_rows < CLOSE_ROWS:
            return None
        if len(found.types) != len(columns):
            columns = tuple(found.types)
            marks_of = marker(shape, columns)
        return marks_of(lines) if marks_of else None

    return marks


def _converted(
    rows: Unparsed, convert: Callable[[Row], list[Row]], name: str, numbers: Sequence[int]
) -> Iterator[tuple[Row, int, str]]:
    """The canonical row of each of these rows, of which each makes one, with its mark and its place."""
    for row, mark, number in zip(rows, rows.marks, numbers, strict=True):
        yield convert(row)[0], mark, f"{name}:{number}"


def _nothing(row: Row) -> list[Row]:
    return []


def _look_at_the_end(found: Scan, answer: str) -> None:
    """Keep one of the longest answers in mind if it ends within a sentence."""
    if len(answer) > found.longest:
        found.longest, found.as_long = len(answer), set()
    if answer[-1].isalnum() or answer[-1] in ",;":
        found.as_long.add(hash(answer))


def _look_closely(found: Scan, row: Row | Skip, made: list[Row], where: str) -> None:
    found.close_rows += 1
    if isinstance(row, dict):
        for column, value in row.items():
            found.types[column][kind_name(value)] += 1
            if (rated := rating(column, value)) is not None:
                found.ratings[column][rated] += 1
            if made and is_held_out(column, value):
                found.note("held_out", where)
    for each in made:
        for kind in oddities(each):
            found.note(kind, where)
        if each.get("label") is False:  # what these answers are like is not learned
            continue
        answer = exchange_of(each)[1]
        if len(found.answers) < LABELS_KEPT:
            found.answers[answer[:LABEL_CHARS], hash(answer)] += 1
        if "text" not in each and len(answer) >= max(found.longest, SHORTEST_CUT) and answer.count(" ") >= PROSE_SPACES:
            _look_at_the_end(found, answer)
        is_asked = found.close_rows <= LANGUAGE_ROWS or not found.close_rows % LANGUAGE_STRIDE
        if found.languages is not None and is_asked and (language := language_of(answer)):
            found.languages[language] += 1
