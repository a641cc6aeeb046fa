"""The runs as rows of a list: name, state, progress, loss and verdict; and what is said of the one in hand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from textual.content import Content

from fitune.core import runs
from fitune.core.runs import LIVE, Run, Status
from fitune.tui.home.documents import MOST_NAME_COLUMNS, RunDocument, describe, elsewhere_text, memory
from fitune.tui.text import clean, clock, count, fitted, number, safe
from fitune.tui.widgets.readouts import bar

ROOMY_COLUMNS, WIDE_COLUMNS = 108, 140
"""From these widths on there is room for a bar and the time of the start, and for the memory."""
BAR_COLUMNS, MEMORY_COLUMNS = 10, 18
STYLES: dict[Status, str] = {
    "starting": "$primary", "running": "$primary", "stopping": "$warning", "finished": "$success",
    "stopped": "$warning", "failed": "$error", "killed": "$error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the list, as it was read."""

    run: Run
    told: RunDocument
    has_adapter: bool

    @property
    def is_live(self) -> bool:
        return self.told.status in LIVE

    def matches(self, words: str) -> bool:
        """True if the run's name, state, verdict, model or note holds each of these words."""
        told = self.told
        text = " ".join(filter(None, (told.name, told.status, told.verdict, told.model, told.note))).lower()
        return all(word in text for word in words.lower().split())


@dataclass(slots=True)
class RunReader:
    """Reads all runs, and later only those that have changed."""

    base: Path
    known: dict[Path, tuple[tuple[float, ...], RunRow]] = field(default_factory=dict)
    """Each run's row, with the times of its files when it was read."""

    def read(self) -> tuple[RunRow, ...]:
        """Every run: those that are alive first, then the newest."""
        self.known = {run.path: self._read(run) for run in runs.all_runs(self.base)}
        return tuple(sorted((row for _, row in self.known.values()), key=lambda row: not row.is_live))

    def _read(self, run: Run) -> tuple[tuple[float, ...], RunRow]:
        at = tuple(_changed(run.path / name) for name in ("run.json", "events.jsonl", "lock", "stop", "notes.txt"))
        times, row = self.known.get(run.path, ((), None))
        if row is not None and times == at and row.is_live == (run.holder_pid() is not None):
            return times, row
        return at, RunRow(run, describe(run), run.has_adapter())


def _changed(path: Path) -> float:
    """The time at which a file was changed; 0 if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def headings(columns: int) -> str:
    """The names of the columns."""
    names = f"{'run':<{_name_columns(columns)}}  {'state':<9}"
    numbers = f"  {'step':>11}  {'loss':>7}  {'verdict':<12}"
    bars = f"  {'':<{BAR_COLUMNS}}" if columns >= ROOMY_COLUMNS else ""
    started = "  started" if columns >= ROOMY_COLUMNS else ""
    used = f"  {'memory':<{MEMORY_COLUMNS}}" if columns >= WIDE_COLUMNS else ""
    return names + bars + numbers + used + started


def line(row: RunRow, columns: int, plain: bool, in_hand: bool, marked: bool = False) -> Content:
    """A run as a line of the list. in_hand: it lies under the cursor bar, which has its own colours."""
    told, width = row.told, _name_columns(columns)
    name = fitted(f"{'* ' if marked else ''}{clean(told.name)}", width)
    state = Content.styled(f"{told.status:<9}", "" if in_hand else STYLES[told.status])
    step = f"{count(told.step or 0)}/{count(told.total_steps) if told.total_steps else '?'}"
    loss = "" if told.loss is None else number(told.loss)
    numbers = f"  {step:>11}  {loss:>7}  {clean(told.verdict or '', 12):<12}"
    if columns < ROOMY_COLUMNS:
        return Content(f"{name:<{width}}  ") + state + Content(numbers)
    progress = bar((told.step or 0) / told.total_steps if told.total_steps else 0.0, BAR_COLUMNS, plain)
    used = f"  {memory(told):<{MEMORY_COLUMNS}}" if columns >= WIDE_COLUMNS else ""
    started = f"  {clock(told.created)}" if told.created else ""
    shown = Content(progress.plain) if in_hand else progress
    return Content(f"{name:<{width}}  ") + state + Content("  ") + shown + Content(numbers + used + started)


def _name_columns(columns: int) -> int:
    """Columns for the name: what the others leave, but no wide gap behind it."""
    others = 47 + (BAR_COLUMNS + 20 if columns >= ROOMY_COLUMNS else 0)
    left = columns - others - (MEMORY_COLUMNS + 2 if columns >= WIDE_COLUMNS else 0)
    return min(MOST_NAME_COLUMNS, max(20, left))


def about(row: RunRow) -> Content:
    """The model of a run, what it left on the disk, and its note; what is wrong with it comes first."""
    told = row.told
    kept = [told.checkpoint or "no checkpoint", "adapter" if row.has_adapter else "no adapter"]
    kept += [name for name in ("merged", "gguf") if (row.run.path / name).is_dir()]
    facts = [clean(told.model or "", 60), clock(told.created) if told.created else "", ", ".join(kept)]
    lines = [safe(text, 300) for text in _troubles(told)]
    lines.append(Content.styled("   ".join(fact for fact in facts if fact), "dim"))
    lines += [Content.styled("Also scored  ", "dim") + safe(others, 300)] if (others := elsewhere_text(told)) else []
    lines += [Content.styled("Note  ", "dim") + safe(told.note, 300)] if told.note else []
    return Content("\n").join(lines)


def _troubles(told: RunDocument) -> Iterator[str]:
    for text in (told.problem, *told.findings):
        if text:
            yield f"WARN  {text}"
