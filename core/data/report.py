"""What a pass over the data found, said in sentences, worst first."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fitune.core.data.files.listing import Source
from fitune.core.data.files.streams import suffix_of
from fitune.core.data.scan import Scan
from fitune.core.data.shapes.shape import Shape, as_toml
from fitune.core.data.values import Row
from fitune.core.errors import Problem

Severity = Literal["stop", "warn"]
FEW_ROWS = 32
UNSEEN_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of problem with the data: how bad, how often, where first."""

    severity: Severity
    """stop: it can't be trained on as it is. warn: it can, but look."""
    kind: str
    """Its name, as a word: bad_line, empty, missing, type ..."""
    count: int
    """Rows with this problem."""
    problem: Problem
    """The first place, a sentence and a fix."""
    places: tuple[str, ...] = ()
    """`file:line what`, the first 20."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a source holds and whether it can be trained on."""

    source: str
    """The source as the recipe names it: a file, a folder or a Hub id."""
    kind: str
    """jsonl, json, csv, tsv, parquet, text, with .gz or .zst; several with commas."""
    files: tuple[str, ...]
    """The files that were read."""
    left_out: tuple[str, ...]
    """Files beside them: another split, a README, an unknown kind."""
    format: str
    """messages, sharegpt, alpaca, prompt_completion, question_answer, text; or preference, unknown."""
    sure: bool
    """True if the format is certain; false if it is a guess."""
    why: str
    """The reason for the format, as a sentence."""
    mapping: Mapping[str, str]
    """Role -> column, as used; may be written to data.columns."""
    candidates: tuple[Mapping[str, str], ...]
    """Values for data.columns to choose from."""
    choices: tuple[str, ...]
    """The first of these values, each with what its first row teaches."""
    rows: int
    """Rows that will be trained on or held out."""
    rows_read: int
    """Rows of the source that were looked at."""
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
    duplicates_exact: bool
    """True if all rows were compared for duplicates; false if only a sample, from which `duplicates` is estimated."""
    problems: tuple[Finding, ...]
    """Those that stop training first."""

    @property
    def can_train(self) -> bool:
        return all(finding.severity != "stop" for finding in self.problems)


SAID: Mapping[str, tuple[str, str]] = {
    "bad_line": ("{n} row[|s] can't be read and [is|are] left out.", "Fix or remove them."),
    "empty": ("{n} row[|s] [has|have] no answer, or no text, and [is|are] left out.", "Fill or remove them."),
    "missing": (
        "{n} row[|s] lack[s|] a column that the others have, and [is|are] left out.",
        "Are there rows of two kinds?",
    ),
    "type": (
        "{n} row[|s] hold[s|] something that is not text where text belongs, and [is|are] left out.",
        "Fix or remove them.",
    ),
    "role": (
        "{n} row[|s] [has|have] a speaker that no chat template knows, and [is|are] left out.",
        "Use system, user, assistant.",
    ),
    "no_answer": (
        "{n} chat[|s] [has|have] no answer of the assistant, and [is|are] left out.",
        "There is nothing to learn in them.",
    ),
    "system_only": (
        "{n} row[|s] hold[s|] only a system prompt, and [is|are] left out.",
        "There is nothing to learn in them.",
    ),
    "all_marked": (
        "{n} row[|s] [has|have] only answers that are marked as not to be learned, and [is|are] left out.",
        "Check weight, train or loss in them.",
    ),
    "segments": (
        "{n} row[|s] [has|have] segments to learn between others, and [is|are] left out.",
        "Keep the segments to learn at the end.",
    ),
    "scattered": (
        "{n} conversation[|s] [does|do] not stand together in the file, and [is|are] left out in part.",
        "Sort the rows by conversation.",
    ),
    "media": ("{n} row[|s] hold[s|] images or other media, and [is|are] left out.", "fitune trains on text."),
    "duplicate": (
        "{n} row[|s] repeat[s|] an earlier one.",
        "They weigh more in training; remove them unless you mean it.",
    ),
    "unbalanced": (
        "In {n} chat[|s] the user and the assistant don't take turns.",
        "Some chat templates refuse such chats.",
    ),
    "no_last_answer": (
        "{n} chat[|s] [doesn't|don't] end with an answer.",
        "What comes after the last answer teaches nothing.",
    ),
    "empty_turn": (
        "In {n} chat[|s] an answer is empty.",
        "It is shown to the model, but not learned.",
    ),
    "marked": (
        "{n} chat[|s] [has|have] answers that are marked as not to be learned (weight 0, train or loss false).",
        "They are shown to the model, but not learned.",
    ),
    "system_late": (
        "In {n} chat[|s] a system prompt stands after the first turn.",
        "Many chat templates refuse that.",
    ),
    "encoding": (
        "{n} place[|s] [is|are] not UTF-8 and [was|were] read as Windows-1252 (Latin-1).",
        "Check the accents; save as UTF-8.",
    ),
    "utf16": ("{n} file[|s] [is|are] UTF-16 and [was|were] recoded.", "Nothing needs to be done."),
    "repaired": (
        "{n} line[|s] [is|are] not strict JSON (a comma at the end, NaN, single quotes), but [was|were] read.",
        "Check one.",
    ),
    "header": (
        "The first line looks like a row, not like names of columns.",
        "A CSV file needs a line with names first.",
    ),
    "garbled": (
        "{n} row[|s] [has|have] garbled letters (such as â€™ or �).",
        "The text was once read in the wrong encoding.",
    ),
    "nul": ("{n} row[|s] [has|have] NUL characters.", "Remove them: tokenizers treat them badly."),
    "copied": (
        "In {n} row[|s] the answer also stands in the question.",
        "Then the model learns to copy; is that meant?",
    ),
    "empty_prompt": (
        "{n} row[|s] [has|have] an empty question.",
        "The model learns to say this out of nothing; is that meant?",
    ),
    "email": ("{n} row[|s] hold[s|] e-mail addresses.", "A trained model can repeat them."),
    "secret": (
        "{n} row[|s] seem[s|] to hold passwords or keys.",
        "A trained model can repeat them: remove and revoke them.",
    ),
}
"""A sentence for each kind, as for `numbered`, and what to do; in the order they are told."""
CLOSE = {"garbled", "nul", "copied", "empty_prompt", "email", "secret"}
SKIPS = (
    "bad_line",
    "empty",
    "missing",
    "type",
    "role",
    "no_answer",
    "system_only",
    "media",
    "all_marked",
    "segments",
    "scattered",
)
"""The kinds of rows that are left out."""
OF_COLUMNS = ("empty", "missing", "type")
"""Those of them that other columns may fix."""


def numbered(text: str, count: int) -> str:
    """The text with `{n}` as the count, and of each `[one|many]` the word that agrees with it."""
    chosen = re.sub(r"\[([^|\]]*)\|([^]]*)\]", r"\1" if count == 1 else r"\2", text)
    return chosen.replace("{n}", f"{count:,}")


def too_few_left(source: str, used: int, skips: Mapping[str, int], first: str) -> Problem | None:
    """Why training on what is left makes no sense, if it doesn't: nothing, or less than was left out.

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
    counts = {**found.counts, "duplicate": duplicates}
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
        choices=tuple(choices),
        rows=rows,
        rows_read=found.raw_rows,
        rows_counted=counted,
        columns=columns,
        preview=tuple(found.preview),
        counts={kind: count for kind, count in counts.items() if count},
        close_rows=found.close_rows,
        duplicates_exact=found.duplicates.is_exact,
        problems=(*stops, *_about_shape(shape, choices), *warnings, *_about_size(source, rows, counted, stops)),
    )


def _rows(source: Source, found: Scan) -> tuple[int, bool]:
    if found.complete or not found.bytes_done:
        return found.used_rows, found.complete
    total_bytes = sum(file.size_bytes for file in source.files)
    return round(found.used_rows * total_bytes / found.bytes_done), False


def _warning(kind: str, count: int, found: Scan) -> Finding:
    text, fix = SAID[kind]
    text = numbered(text, count)
    if kind in CLOSE and found.close_rows < found.raw_rows:
        text = f"Of {found.close_rows:,} rows looked at closely: {text[0].lower()}{text[1:]}"
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
        fix = f'To show it under the question: data.columns = {{instruction = ..., input = "{name}", output = ...}}.'
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
