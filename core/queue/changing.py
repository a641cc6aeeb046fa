"""Changes of the queue by its user: the order of what waits, and entries that are taken out."""

from collections.abc import Sequence
from dataclasses import replace

from fitune.core.errors import UserError
from fitune.core.queue.entries import Entry, Queue, edit, find


def move(key: str, place: int) -> Entry:
    """Move an entry that waits to a place among those that wait, from 1; a higher number than there are is the last.

    key: its name, or a unique part of it. Raises UserError if it does not wait, or if no entry is meant.
    """
    moved: list[Entry] = []

    def change(queue: Queue) -> Queue:
        entry = find(queue, key)
        if entry.state() != "waiting":
            raise UserError(f"{entry.name} does not wait any more: it is {entry.state()}.", "Only what waits is moved.")
        if place < 1:
            raise UserError(f"{place} is no place in the queue.", "The next one is number 1.")
        moved.append(entry)
        others = [each for each in queue.entries if each != entry]
        waiting = [at for at, each in enumerate(others) if each.state() == "waiting"]
        at = waiting[place - 1] if place <= len(waiting) else len(others)
        return replace(queue, entries=(*others[:at], entry, *others[at:]))

    edit(change)
    return moved[0]


def remove(keys: Sequence[str]) -> tuple[Entry, ...]:
    """Take entries out of the queue, all or none; their runs stay. Raises UserError for one that is at work."""
    gone: list[Entry] = []

    def change(queue: Queue) -> Queue:
        gone.extend(find(queue, key) for key in dict.fromkeys(keys))
        for entry in gone:
            if entry.state() == "at work":
                raise UserError(f"{entry.name} is at work.", f"Stop it first: fitune stop {entry.name}")
        return replace(queue, entries=tuple(each for each in queue.entries if each not in gone))

    edit(change)
    return tuple(gone)


def remove_ended() -> tuple[Entry, ...]:
    """Take all entries out that have ended; their runs stay."""
    gone: list[Entry] = []

    def change(queue: Queue) -> Queue:
        gone.extend(entry for entry in queue.entries if entry.end is not None)
        return replace(queue, entries=tuple(entry for entry in queue.entries if entry.end is None))

    edit(change)
    return tuple(gone)
