"""The entries of the queue as plain records, for a list: what has ended, what is at work, what waits."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fitune.core import queue
from fitune.core.errors import UserError
from fitune.core.queue import Entry, Queue, State
from fitune.tui.home.documents import MOST_NAME_COLUMNS
from fitune.tui.text import clean, clock

STATE_COLUMNS, TIME_COLUMNS = 11, 16
HEADINGS = ["RUN", "STATE", "BEGAN", "ENDED", "FROM"]


@dataclass(frozen=True, slots=True)
class EntryDocument:
    """An entry in the list of `fitune queue list --json`. Times are UTC seconds; null is not yet, or any."""

    name: str
    """The name of its run."""
    path: str
    """The folder of its run, which is there once it has begun."""
    state: State
    """waiting, at work, interrupted (it goes on from its checkpoint), finished, stopped, failed, killed, or refused:
    its run could not start."""
    said: str
    """How it ended, or what it waits for, as a sentence."""
    source: str
    """The recipe file or preset that was added."""
    added: float | None
    """The time at which it was added."""
    after: float | None
    """The earliest time of its start."""
    when_idle: bool
    """True if its card must be free of others first."""
    began: float | None
    """The time at which its run was made."""
    ended: float | None
    """The time at which its end was seen."""

    @property
    def folder(self) -> Path:
        """The folder of its run."""
        return Path(self.path)


@dataclass(frozen=True, slots=True)
class QueueChoice:
    """The way to the queue, in the list at home."""

    text: str
    """What is in it."""


def queue_choices() -> tuple[QueueChoice, ...]:
    """The way to the queue; none while it is empty."""
    try:
        entries = describe(queue.read())
    except UserError as error:
        return (QueueChoice(f"The queue: {error}"),)
    return (QueueChoice(in_short(entries)),) if entries else ()


def in_short(entries: Sequence[EntryDocument]) -> str:
    """How many entries are in which state."""
    states = Counter(each.state for each in entries)
    return f"The queue: {', '.join(f'{count} {state}' for state, count in states.items()) or 'nothing in it'}"


def doing(entries: Sequence[EntryDocument]) -> str:
    """What a queue that somebody runs does now, as the end of a sentence."""
    if any(each.state == "at work" for each in entries):
        return "is at work"
    times = [each.after or 0.0 for each in entries if each.ended is None]
    if times and min(times) > time.time():
        return f"waits until {clock(min(times))}"
    return "waits until a card, or the processor, is free"


def describe(queue: Queue) -> tuple[EntryDocument, ...]:
    """The entries that have ended, in the order of their ends, then the others: at work first."""
    ended = sorted((entry for entry in queue.entries if entry.end is not None), key=lambda each: each.ended or 0.0)
    return tuple(map(_document, (*ended, *queue.open())))


def _document(entry: Entry) -> EntryDocument:
    state = entry.state()
    return EntryDocument(
        name=entry.name,
        path=str(entry.run.path),
        state=state,
        said=waits_for(entry) if state == "waiting" else entry.said,
        source=entry.source,
        added=entry.added,
        after=entry.after,
        when_idle=entry.when_idle,
        began=entry.began,
        ended=entry.ended,
    )


def waits_for(entry: Entry) -> str:
    """The conditions that an entry was added with; empty if it only waits for its turn."""
    after = f"after {clock(entry.after)}" if entry.after else ""
    return " and ".join(filter(None, (after, "on an idle card" if entry.when_idle else "")))


def headings(columns: int) -> str:
    """The names of the columns of `line`."""
    return f"{'run':<{_name_columns(columns)}}  {'state':<{STATE_COLUMNS}}  {'began':<{TIME_COLUMNS}}  ended"


def line(told: EntryDocument, columns: int) -> str:
    """An entry as a line of so many columns; of a long name the end is shown, which tells a sweep's entries apart."""
    width, name = _name_columns(columns), clean(told.name)
    name = name if len(name) <= width else f"..{name[2 - width :]}"
    if told.began is None:
        return f"{name:<{width}}  {told.state:<{STATE_COLUMNS}}  {clean(told.said, 2 * TIME_COLUMNS + 2)}"
    began, ended = clock(told.began), clock(told.ended) if told.ended else ""
    return f"{name:<{width}}  {told.state:<{STATE_COLUMNS}}  {began:<{TIME_COLUMNS}}  {ended}".rstrip()


def _name_columns(columns: int) -> int:
    return min(MOST_NAME_COLUMNS, max(20, columns - STATE_COLUMNS - 2 * TIME_COLUMNS - 7))


def cells(told: EntryDocument) -> list[str]:
    """An entry as the cells of a table."""
    began = clock(told.began) if told.began else told.said if told.state == "waiting" else ""
    ended = clock(told.ended) if told.ended else ""
    return [clean(told.name), told.state, clean(began, 60), ended, clean(told.source, 60)]
