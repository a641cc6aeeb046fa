"""The report on a data set: the findings of a pass over its rows in sentences, worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fitune.core.data.checks.answers import about_answers, label_shares, language_shares
from fitune.core.data.checks.scan import Scan
from fitune.core.data.checks.sentences import CLOSE, FEW_ROWS, OF_COLUMNS, SAID, SKIPS, Finding, numbered
from fitune.core.data.files.listing import Source
from fitune.core.data.files.streams import suffix_of
from fitune.core.data.shapes.shape import Shape, as_toml
from fitune.core.data.values import Row
from fitune.core.errors import Problem

FEW_LONG, CUT_OFF_MOST = 10, 0.4
"""Long answers needed to tell which break off, and the largest share of them that may."""
FROM_SHARE = {"written_out": 0.05, "dotted": 0.1, "named": 0.05, "asking": 0.8, "logged": 0.5, "announced": 0.05}
"""The share of the rows from which on these are told: fewer may be code, or a manner of writing."""
TURNED_LEAST, PAIRED_MOST = 0.1, 0.8
"""The share of rows that are turned round from which on this is told, and that of these and of rows with a question and
its answer: where people are asked back there are many rows of neither kind."""
UNSEEN_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a source, and whether it can be trained on."""

    source: str
    """The source as the recipe names it: a file, a folder or a Hub id."""
    kind: str
    """jsonl, json, csv, tsv, parquet, text, with .gz or .zst; several with commas."""
    files: tuple[str, ...]
    """The files that were read."""
    left_out: tuple[str, ...]
    """Files beside them: another split, a README, an unknown kind."""
    format: str
    """messages, sharegpt, alpaca, prompt_completion, question_answer, text; preference (a better and a worse answer),
    rated (good or bad answers); or vision, unknown."""
    sure: bool
    """True if the format is certain; false if it is a guess."""
    why: str
    """The reason for the format, as a sentence."""
    mapping: Mapping[str, str]
    """Role -> column, as used; may be written to data.columns."""
    candidates: tuple[Mapping[str, str], ...]
    """Values for data.columns to choose from."""
    objectives: tuple[str, ...]
    """Where the recipe's objective can't learn from these rows: those that can."""
    choices: tuple[str, ...]
    """The first of these values, each with what its first row teaches."""
    rows: int
    """Rows that will be trained on or held out."""
    rows_read: int
    """Rows of the source that were looked at."""
    image_rows: int
    """Rows with images, among those that were looked at."""
    rows_counted: bool
    """False: only the head was read, and `rows` is estimated from its size."""
    columns: Mapping[str, str]
    """Column -> the kinds of value it holds."""
    preview: tuple[Row, ...]
    """The first canonical rows; where no format is known, the first ones as they are."""
    counts: Mapping[str, int]
    """By kind of finding; kinds that are looked for closely count among `close_rows` rows only."""
    close_rows: int
    """Rows that were looked at closely, for every kind of finding."""
    compared_rows: int
    """Rows that were compared, to find those that say nearly the same as an earlier one: the first, as far as time and
    memory allow; 0 where only the head was read."""
    labels: Mapping[str, float]
    """Answer -> its share among those looked at closely, where the answers are a few labels; else empty."""
    languages: Mapping[str, float]
    """ISO 639 code -> share of the answers in it, among those looked at closely of which it is sure; largest first."""
    duplicates_exact: bool
    """True if all rows were compared for duplicates; false if only a sample, from which `duplicates` is estimated."""
    general: int
    """General rows of data.replay_source that are mixed in; 0 where only the head was read."""
    problems: tuple[Finding, ...]
    """Those that stop training first."""

    @property
    def can_train(self) -> bool:
        return all(finding.severity != "stop" for finding in self.problems)


def too_few_left(source: str, used: int, skips: Mapping[str, int], first: str) -> Problem | None:
    """The reason why training on the rest makes no sense, if it doesn't: nothing is left, or less than was left out.

    skips: how many rows were left out, by kind. first: where the first of them is, and what is wrong with it.
    """
    skipped = sum(skips.values())
    if used == skipped == 0:
        return Problem(source, "holds no rows.", "Is it the right file?")
    if used == 0 or skipped > used:
        text = f"{skipped:,} of {used + skipped:,} rows can't be used; the first: {first}"
        kind = _most(skips)
        fix = "Fix them, or map the columns: data.columns." if kind in OF_COLUMNS else SAID[kind][1]
        return Problem(source, text, fix)
    return None


def _most(skips: Mapping[str, int]) -> str:
    return max(skips, key=lambda kind: skips[kind])


def report_of(source: Source, shape: Shape, found: Scan, choices: Sequence[str]) -> Report:
    """The report on a pass over the rows of a source, read as `shape` says.

    choices: of mappings that may be meant what they teach.
    """
    duplicates = found.duplicates.count()
    counts = {**found.counts, "duplicate": duplicates, "cut_off": _cut_off(found.counts)}
    counts |= {"turned": _turned(found), "asked": 0}
    counts |= {kind: 0 for kind, share in FROM_SHARE.items() if counts.get(kind, 0) < share * found.close_rows}
    rows, counted = _rows(source, found)
    stops = [Finding("stop", "format", 1, problem, tuple(choices)) for problem in shape.problems]
    if found.broken:
        stops.append(Finding("stop", "unreadable", 1, Problem("", found.broken.message, found.broken.hint)))
    skips = {kind: counts.get(kind, 0) for kind in SKIPS}
    first = next(iter(found.places.get(_most(skips), ())), "")
    if not shape.problems and (few := too_few_left(source.name, found.used_rows, skips, first)):
        stops.append(Finding("stop", "too_few", found.skipped_rows, few))
    warnings = [_warning(kind, counts[kind], found) for kind in SAID if counts.get(kind)]
    columns = {name: _types(kinds, found) for name, kinds in found.types.items()}
    return Report(
        source=source.name,
        kind=", ".join(dict.fromkeys(_kind(file.name) for file in source.files)),
        files=tuple(file.name for file in source.files),
        left_out=source.ignored,
        format=shape.format,
        sure=shape.sure,
        why=shape.why,
        mapping=dict(shape.columns),
        candidates=tuple(dict(each) for each in shape.candidates),
        objectives=shape.objectives,
        choices=tuple(choices),
        rows=rows,
        rows_read=found.raw_rows,
        image_rows=found.image_rows,
        rows_counted=counted,
        columns=columns,
        preview=tuple(found.preview),
        counts={kind: count for kind, count in counts.items() if count},
        close_rows=found.close_rows,
        compared_rows=_compared(found),
        labels=label_shares(found),
        languages=language_shares(found),
        general=0,
        duplicates_exact=found.duplicates.is_exact,
        problems=(
            *stops,
            *_about_shape(shape, choices),
            *warnings,
            *about_answers(found, shape),
            *_about_size(source, rows, counted, stops),
        ),
    )


def _cut_off(counts: Mapping[str, int]) -> int:
    """Answers that break off; none where so many end without a mark that this is how these answers are written."""
    count, long = counts.get("cut_off", 0), counts.get("long_answer", 0)
    return count if long >= FEW_LONG and count <= CUT_OFF_MOST * long else 0


def _turned(found: Scan) -> int:
    """Rows of which question and answer are swapped; none unless nearly all others ask and are answered."""
    count, asked = found.counts["turned"], found.counts["asked"]
    is_mixed = asked and count + asked >= PAIRED_MOST * found.close_rows
    return count if is_mixed and count >= TURNED_LEAST * found.close_rows else 0


def _rows(source: Source, found: Scan) -> tuple[int, bool]:
    if found.complete or not found.bytes_done:
        return found.used_rows, found.complete
    total_bytes = sum(file.size_bytes for file in source.files)
    return round(found.used_rows * total_bytes / found.bytes_done), False


def _compared(found: Scan) -> int:
    return found.similar.rows if found.similar else 0


def _warning(kind: str, count: int, found: Scan) -> Finding:
    text, fix = SAID[kind]
    text = numbered(text, count)
    if kind in CLOSE and found.close_rows < found.raw_rows:
        text = f"Of {found.close_rows:,} rows looked at closely: {text[0].lower()}{text[1:]}"
    if kind == "duplicate" and not found.duplicates.is_exact:
        text = f"About {text}"
    if kind == "near_duplicate" and _compared(found) < found.used_rows:
        text = f"Of the first {_compared(found):,} rows {text[0].lower()}{text[1:]}"
    places = tuple(found.places.get(kind, ()))
    return Finding("warn", kind, count, Problem(places[0].split(" ")[0] if places else "", text, fix), places)


def _about_shape(shape: Shape, choices: Sequence[str]) -> list[Finding]:
    out = []
    if not shape.sure and shape.is_usable:
        fix = " or ".join(f"data.columns = {as_toml(each)}" for each in shape.candidates[:3] or (shape.columns,))
        problem = Problem("data.columns", f"A guess: {shape.why}", f"Say which: {fix}.")
        out.append(Finding("warn", "unsure", 1, problem, tuple(choices)))
    for name in shape.unseen[:UNSEEN_SHOWN] if shape.is_usable and shape.sure else ():
        text = f"the column {name} is not used: the model won't see it."
        pair = {"instruction": shape.columns.get("question"), "input": name, "output": shape.columns.get("answer")}
        shown = {role: column for role, column in pair.items() if column}
        fix = f"To show it under the question: data.columns = {as_toml(shown)}." if len(shown) == len(pair) else ""
        out.append(Finding("warn", "unused", 1, Problem("data.columns", text, fix)))
    return out


def _about_size(source: Source, rows: int, counted: bool, stops: Sequence[Finding]) -> list[Finding]:
    if stops or not counted or rows >= FEW_ROWS:
        return []
    text = numbered("There [is|are] only {n} row[|s]: enough to try things out, hardly to learn from.", rows)
    return [Finding("warn", "few", rows, Problem(source.name, text, "A few hundred good rows are a usual start."))]


def _types(kinds: Mapping[str, int], found: Scan) -> str:
    seen = sorted(kinds, key=lambda kind: (kind == "missing", -kinds[kind]))
    if "missing" not in kinds and sum(kinds.values()) < found.close_rows - found.counts["bad_line"]:
        seen.append("missing")
    return " or ".join(seen)


def _kind(name: str) -> str:
    packed = "." + name.rsplit(".", 1)[1] if name.lower().endswith((".gz", ".zst", ".zstd")) else ""
    return {"md": "text", "markdown": "text", "txt": "text", "": "text", "ndjson": "jsonl"}.get(
        suffix_of(name)[1:], suffix_of(name)[1:]
    ) + packed
