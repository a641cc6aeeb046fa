"""A data set: any common source as a stream of canonical rows, a report on it, and its split.

Canonical rows are {"messages": [{"role", "content", ...}]} (perhaps with `tools`), {"prompt": str, "completion": str}
or {"text": str}; a chat with images has their paths or data URLs in `images`. Knows no tokenizer: lengths and masks are
the worker's business.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice

from fitune.core.data.canonical import converter
from fitune.core.data.chats.grouped import grouped
from fitune.core.data.checks.report import Report, report_of, too_few_left
from fitune.core.data.checks.scan import scan
from fitune.core.data.checks.sentences import Finding
from fitune.core.data.exchange import said_of
from fitune.core.data.files import find
from fitune.core.data.files.listing import Source
from fitune.core.data.files.readers import batches, read
from fitune.core.data.images.files import beside
from fitune.core.data.mixed import combined, progress_of_all, replayed, weighted
from fitune.core.data.shapes.recognise import recognise
from fitune.core.data.shapes.shape import Shape, as_toml
from fitune.core.data.split import split
from fitune.core.data.values import Row, Skip
from fitune.core.errors import BadInput, Problem, UserError
from fitune.core.recipe import Data

__all__ = ["Finding", "Report", "Row", "general_rows", "inspect", "preview", "rows", "split"]
HEAD_ROWS = 200
"""Rows looked at to recognise a format ..."""
HEAD_BYTES = 1 << 23
"""... or so many bytes, where rows are long ..."""
FEWEST_ROWS = 10
"""... but never fewer than this."""
CHOICES_SHOWN, CHOICE_CHARS = 3, 50
"""Readings that are shown side by side where it is not clear which is meant, and what is shown of each text."""


def rows(
    data: Data,
    limit: int | None = None,
    on_skip: Callable[[Problem], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Row]:
    """Canonical rows, in file order; of several sources one after the other, each row as often as its weight says.

    limit: at most so many. on_skip: told of each row that is left out; `inspect` counts the same ones.
    on_progress: told (bytes done, bytes in all) at each row; compressed bytes where a file is compressed.
    Raises UserError where a source can't be read, BadInput where it can't be trained on: no known format, no rows,
    or (at the end) more rows left out than used.
    """
    return islice(_all(data, on_skip or _unheard, on_progress or _unasked), limit)


def holds_images(data: Data) -> bool:
    """True if a row holds images; else all of them are read. Raises as `rows`."""
    return any("images" in row for row in rows(data))


def general_rows(data: Data, own: int) -> list[Row]:
    """The rows of data.replay_source that are mixed in beside so many own ones: taken evenly from all over it, all if
    it has too few. Empty where nothing is replayed, or the base model's own answers. Raises as `rows`."""
    general = data.general()
    if general is None:
        return []
    there = sum(1 for _ in rows(general))
    share = Fraction(min(replayed(data.replay, own), there), max(1, there))
    return list(weighted(rows(general), share))


def preview(data: Data, sample: int = 5) -> Report:
    """A report on the first rows: at once, however large the source. Raises like `inspect`."""
    return _report(data, sample, True, None)


def inspect(data: Data, sample: int = 5, on_progress: Callable[[int, int], None] | None = None) -> Report:
    """A report on every row, in bounded memory. A source that can't be trained on is reported, not raised.

    sample: canonical rows to show. on_progress: told (bytes done, bytes in all) every few thousand rows.
    Raises UserError where the source can't be found, reached or opened.
    """
    return _report(data, sample, False, on_progress)


def refuse_guess(data: Data) -> None:
    """Raise UserError where it is not clear what the rows teach, and the recipe does not say it."""
    for part, _ in data.parts():
        head = _head(find.find(part.source, part.split), part)
        shape = _shape(head, part)
        if not shape.sure and shape.candidates:
            raise unclear(part.source, [_choice(head, each, part) for each in shape.candidates[:CHOICES_SHOWN]])


def unclear(source: str, choices: Sequence[str]) -> UserError:
    """The readings to choose from, side by side."""
    readings = "".join(f"\n  data.columns = {choice}" for choice in choices[:2])
    hint = "Write the line that is meant into the recipe, or take the first with --accept-guess."
    return UserError(f"It is not clear what is to be learned from {source}. It may be:{readings}", hint)


def _report(data: Data, sample: int, head_only: bool, on_progress: Callable[[int, int], None] | None) -> Report:
    parts = data.parts()
    told = progress_of_all(on_progress or _unasked, _sizes(data))
    reports = [_report_on(part, sample, head_only, tell) for (part, _), tell in zip(parts, told, strict=True)]
    report = combined([(each, weight) for each, (_, weight) in zip(reports, parts, strict=True)])
    return report if head_only else _with_general(report, data)


def _with_general(report: Report, data: Data) -> Report:
    """The report with the count of the general rows that are mixed in, or the reason why they can't be."""
    general = data.general()
    if general is None or not report.can_train:
        return report
    try:
        refuse_guess(general)
        count = len(general_rows(data, report.rows))
    except UserError as error:
        problem = Problem("data.replay_source", error.message, "General rows need a shape that is clear.")
        return replace(report, problems=(Finding("stop", "replay", 1, problem), *report.problems))
    if count >= (wanted := replayed(data.replay, report.rows)):
        return replace(report, general=count)
    text = f"holds only {count:,} of the {wanted:,} general rows that data.replay asks for."
    few = Finding("warn", "replay", wanted - count, Problem(general.source, text, "All of them are used."))
    return replace(report, general=count, problems=(*report.problems, few))


def _report_on(data: Data, sample: int, head_only: bool, on_progress: Callable[[int, int], None]) -> Report:
    source = find.find(data.source, data.split)
    head = _head(source, data)
    shape = _first_reading(head, _shape(head, data), data)
    choices = [_choice(head, each, data) for each in shape.candidates[:CHOICES_SHOWN]]
    found = scan(source, data.split, shape, sample, head_only, on_progress, data.image_folder)
    return report_of(source, shape, found, choices)


def _first_reading(head: list[Row], shape: Shape, data: Data) -> Shape:
    """Where it is not clear which reading is meant: the one that is offered first, which an accepted guess takes."""
    if shape.sure or shape.problems or not shape.candidates or shape.candidates[0] == shape.columns:
        return shape
    columns = dict(shape.candidates[0])
    first = recognise(head, data.model_copy(update={"columns": columns, "format": "auto"}))
    return replace(shape, format=first.format, columns=first.columns) if first.is_usable else shape


def _choice(head: list[Row], columns: Mapping[str, str], data: Data) -> str:
    """A mapping that can be chosen, with what its first row teaches."""
    shape = recognise(head, data.model_copy(update={"columns": dict(columns), "format": "auto"}))
    return f"{as_toml(columns)}: {said_of(head, shape, CHOICE_CHARS) if shape.is_usable else ''}"


def _shape(head: list[Row], data: Data) -> Shape:
    return recognise(head, data) if head else Shape("unknown", {}, False, "there is no row to tell by.")


def _head(source: Source, data: Data) -> list[Row]:
    """The first rows, as they are: the evidence for their shape."""
    head: list[Row] = []
    try:
        for file in source.files:
            with find.opened(file) as raw:
                for _, row in read(raw, file.name, data.split, _unnoted):
                    head += [row] if isinstance(row, dict) else []
                    if len(head) >= HEAD_ROWS or (len(head) >= FEWEST_ROWS and raw.tell() > HEAD_BYTES):
                        return head
    except UserError:
        if not head:
            raise
    return head


def _all(data: Data, on_skip: Callable[[Problem], None], on_progress: Callable[[int, int], None]) -> Iterator[Row]:
    told = progress_of_all(on_progress, _sizes(data))
    for (part, weight), tell in zip(data.parts(), told, strict=True):
        yield from weighted(_rows(part, on_skip, tell), weight) if weight != 1 else _rows(part, on_skip, tell)


def _sizes(data: Data) -> list[int]:
    """The bytes of each source; only asked for where there are several."""
    if not data.sources:
        return [0]
    found = (find.find(part.source, part.split) for part, _ in data.parts())
    return [sum(file.size_bytes for file in source.files) for source in found]


def _rows(data: Data, on_skip: Callable[[Problem], None], on_progress: Callable[[int, int], None]) -> Iterator[Row]:
    source = find.find(data.source, data.split)
    shape = _shape(_head(source, data), data)
    if shape.problems:
        raise BadInput(shape.problems)
    used, skips = 0, Counter[str]()
    first = ""
    for made in _made(source, shape, data, on_progress):
        if isinstance(made, tuple):
            kind, problem = made
            skips[kind] += 1
            first = first or str(problem)
            on_skip(problem)
        else:
            used += len(made)
            yield from made
    if few := too_few_left(data.source, used, skips, first):
        raise BadInput([few])


def _made(
    source: Source, shape: Shape, data: Data, on_progress: Callable[[int, int], None]
) -> Iterator[list[Row] | tuple[str, Problem]]:
    """The canonical row of each raw row, or the reason why it is left out: the kind of skip, and a sentence."""
    convert = converter(shape.format, shape.columns) if shape.is_usable else None
    done_bytes, total_bytes = 0, sum(file.size_bytes for file in source.files)
    for file in source.files:
        to_rows = beside(convert, file, data.image_folder) if convert else None
        with find.opened(file) as raw:
            batched = grouped(batches(raw, file.name, data.split, _unnoted), shape.columns)
            for number, row in (each for numbers, rows in batched for each in zip(numbers, rows, strict=True)):
                on_progress(done_bytes + raw.tell(), total_bytes)
                try:
                    if isinstance(row, Skip):
                        raise row
                    yield to_rows(row) if to_rows else []
                except Skip as skip:
                    yield skip.kind, Problem(f"{file.name}:{number}", skip.text)
        done_bytes += file.size_bytes


def _unheard(problem: Problem) -> None:
    """The caller does not ask about rows that are left out: `inspect` tells them."""


def _unasked(done_bytes: int, total_bytes: int) -> None:
    """The caller does not ask how far the reading is."""


def _unnoted(kind: str, line: int) -> None:
    """Rows that are read leniently are noted by `inspect`, in core.data.checks.scan."""
