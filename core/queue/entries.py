"""The file of the queue: its entries in their order, and what came of each.

queue.json is the only truth about the queue, and each entry's run folder about its training. Everyone reads it at any
time; who changes it holds a lock on another file meanwhile, and it appears whole.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from fitune.core import runs
from fitune.core.at_end import End, OnEnd
from fitune.core.errors import UserError
from fitune.core.files import read_file, write_atomically
from fitune.core.recipe import RUN_NAME, Recipe, parse
from fitune.core.records import from_json
from fitune.core.runs import Run

State = Literal["waiting", "at work", "interrupted", "finished", "stopped", "failed", "killed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A recipe in the queue, as it was when it was added. Times are UTC seconds."""

    name: str
    """The name of its run, which no other entry has."""
    recipe: dict[str, Any]
    """The checked recipe, by groups, with every field."""
    source: str = ""
    """The recipe file or preset that was added, as it was named."""
    added: float | None = None
    """The time at which it was added."""
    after: float | None = None
    """The earliest time of its start; null is any."""
    when_idle: bool = False
    """True if its card must be free of others first."""
    anyway: bool = False
    """True if it is started although the budget says that it does not fit."""
    began: float | None = None
    """The time at which its run was made; null while it waits."""
    ended: float | None = None
    """The time at which its end was seen; null before that."""
    end: End | None = None
    """The way it ended; refused: its run could not start. null before that."""
    said: str = ""
    """The end as a sentence, with what to do."""

    @property
    def run(self) -> Run:
        """Its run, which may not be there yet."""
        home = self.recipe.get("run", {}).get("home") if isinstance(self.recipe.get("run"), dict) else None
        return Run(runs.home(home if isinstance(home, str) else None) / "runs" / self.name)

    def parsed(self) -> Recipe:
        """Its recipe. Raises BadInput for one that this version does not know."""
        return parse(self.recipe, f"the queue's recipe {self.name}")

    def state(self) -> State:
        """What it does now."""
        if self.end is not None:
            return self.end
        if self.began is None:
            return "waiting"
        return "at work" if self.run.holder_pid() is not None else "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The content of queue.json."""

    version: int = 1
    """The version of this format."""
    go_on: bool = False
    """True from `fitune queue run` until all is done, or `fitune queue stop`: a reboot goes on with it."""
    entries: tuple[Entry, ...] = ()
    """The entries in their order."""
    on_end: OnEnd | None = None
    """What is done at the end of each entry and of all; null is nothing. It holds until then."""

    def open(self) -> tuple[Entry, ...]:
        """The entries that have not ended, those at work first."""
        left = [entry for entry in self.entries if entry.end is None]
        return tuple(sorted(left, key=lambda entry: entry.began is None))

    def with_entry(self, changed: Entry) -> "Queue":
        """The queue with an entry replaced, by its name; the same where it was removed meanwhile."""
        return replace(self, entries=tuple(changed if each.name == changed.name else each for each in self.entries))


def folder() -> Path:
    """The folder of the queue, private to the user. Raises UserError if there is no home for it."""
    return runs.home() / "queue"


def read() -> Queue:
    """The queue; an empty one if there is none yet. Raises UserError if its file can't be read."""
    path = folder() / "queue.json"
    try:
        raw = orjson.loads(read_file(path))
    except FileNotFoundError:
        return Queue()
    except (OSError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}).", "Remove it to begin with an empty queue.") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not the file of a queue.", "Remove it to begin with an empty queue.")
    queue = from_json(Queue, raw)
    for number, entry in enumerate(queue.entries, 1):  # without a name its run's folder would be that of all runs
        if not re.fullmatch(RUN_NAME, entry.name):
            problem = f"{path}: entry {number} has no name that a run may have: {entry.name[:40]!r}."
            raise UserError(problem, "Correct it there. Remove it to begin with an empty queue.")
    return queue


def edit(change: Callable[[Queue], Queue]) -> Queue:
    """Change the queue, one at a time, and return it as it is then. Raises UserError, also what `change` raises."""
    try:
        with _one_at_a_time():
            before = read()
            after = change(before)
            if after != before:
                write_atomically(folder() / "queue.json", orjson.dumps(after, option=orjson.OPT_INDENT_2))
            return after
    except OSError as error:
        hint = "Set FITUNE_HOME to a folder you can write to."
        raise UserError(f"{folder()} can't be written to: {error.strerror}.", hint) from None


def find(queue: Queue, key: str) -> Entry:
    """The entry of that name or unique part of a name. Raises UserError."""
    matches = [each for each in queue.entries if each.name == key] or [
        each for each in queue.entries if key and key in each.name
    ]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(each.name for each in (matches or queue.entries)[:8])
    problem = f"{len(matches)} entries match {key!r}" if matches else f"No entry of the queue matches {key!r}"
    raise UserError(f"{problem}.", f"Entries: {names}" if names else "The queue is empty.")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    for path in (runs.home(), folder()):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder() / ".edit", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
