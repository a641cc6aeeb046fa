"""The entries of the queue as plain records, for a list: what has ended, what is at work, what waits."""

from dataclasses import dataclass

from fitune.core.queue import Entry, Queue, State
from fitune.tui.text import clean, clock

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
    return " and ".join(filter(None, (after, "when its card is idle" if entry.when_idle else "")))


def cells(told: EntryDocument) -> list[str]:
    """An entry as the cells of a table."""
    began = clock(told.began) if told.began else told.said if told.state == "waiting" else ""
    ended = clock(told.ended) if told.ended else ""
    return [clean(told.name), told.state, clean(began, 60), ended, clean(told.source, 60)]
