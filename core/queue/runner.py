"""`python -m fitune.core.queue.runner`: begin the entries of the queue in their order, and see how each ends.

It holds the lock of the queue while it lives, and keeps nothing to itself: after a kill, the next one reads from
queue.json and the run folders where it has to go on.
"""

import fcntl
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fitune.core import jobs, runs
from fitune.core.at_end import End, Notice, OnEnd, end_of, tell
from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import CardTaken, UserError
from fitune.core.machine import Machine, host
from fitune.core.queue.cards import Idleness, choose, on_cards, taken_cards
from fitune.core.queue.entries import Entry, Queue, edit, folder, read
from fitune.core.recipe import Recipe
from fitune.core.runs.post_mortem import killed_as_asked

POLL_S = 1.0
LOOK_S = 5.0
"""Seconds between two looks at the cards while an entry waits for one."""
NEVER = Path()
"""Stands for the checkpoint of an entry that was not resumed yet."""


def main() -> int:
    """Run the queue to its end. Exit status: 0 all done or stopped, 1 failed, 2 another process runs it already."""
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path = folder() / "lock"
    lock = runs.take_lock(path, "queue")
    if lock is None:
        print("The queue is run by another process already.", file=sys.stderr)
        return 2
    threading.Thread(target=runs.keep_touching, args=(lock, path, lambda: os._exit(1)), daemon=True).start()
    at_work = Runner()
    try:
        while True:
            at_work.work()
            if _has_left(lock, path):
                return 0
    except BaseException:
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        return 1


class Runner:
    """One process that runs the queue."""

    def __init__(self) -> None:
        self.next_look = 0.0
        """Seconds of the monotonic clock: the cards are not looked at before."""
        self.idleness = Idleness()
        self.followed: set[str] = set()
        """Entries that were at work while this process looked."""
        self.resumed_from: dict[str, Path | None] = {}
        """The checkpoint from which this process has last resumed an entry, by its name."""
        self.telling: list[threading.Thread] = []
        """They tell an end, as the user wants it: the next entry does not wait for that, but this process does."""

    def work(self) -> None:
        """Run entries until all have ended, or the queue is stopped, and all ends are told.

        An address that does not answer may take minutes. A queue that is started again meanwhile is run here.
        """
        say("The queue is run from here on.")
        self.run_open()
        while any(each.is_alive() for each in self.telling):
            time.sleep(POLL_S)
            with suppress(UserError):  # as in `run_open`, which waits for the repair
                if read().go_on:
                    self.run_open()

    def run_open(self) -> None:
        """Run entries until all have ended, or the queue is stopped."""
        trouble = ""
        while True:
            try:
                if not (queue := edit(_without_end)).go_on:
                    break
                self.look(queue)
            except UserError as error:  # queue.json can't be read or written now, as on a full disk
                if trouble != (trouble := str(error)):
                    say(f"It waits until this is repaired: {trouble}")
            time.sleep(POLL_S)
        if queue.open():
            say("What waits, waits for: fitune queue run")
            return
        ends = Counter(str(entry.end) for entry in queue.entries)
        said = f"All of the queue has ended: {', '.join(f'{count} {end}' for end, count in ends.items())}."
        say(said)
        self.start_telling(queue.on_end, Notice("the queue", "done", said, folder()))
        edit(lambda queue: queue if queue.go_on else replace(queue, on_end=None))

    def look(self, queue: Queue) -> None:
        """See what became of the entries at work, and begin those that may."""
        for entry in queue.open():
            if entry.began is not None:
                self.follow(entry)
        self.begin_next()

    def follow(self, entry: Entry) -> None:
        """See whether the run of an entry still works; if it does not, note its end or resume it."""
        run = entry.run
        if run.holder_pid() is not None:
            self.followed.add(entry.name)
        elif entry.name in self.followed and not run.path.exists():
            self.note_end(entry, "killed", "Its folder was moved or deleted while it was at work.")
        elif not (run.path / "run.json").exists():
            self.make_anew(entry)
        else:
            try:
                found = end_of(run)
                if self.is_interrupted(entry, found):
                    self.resume(entry)
                elif found:
                    self.note_end(entry, *found)
            except CardTaken:
                return
            except UserError as error:
                if run.holder_pid() is None:  # else someone has resumed it at the same moment
                    self.note_end(entry, "failed", str(error))

    def make_anew(self, entry: Entry) -> None:
        """Let an entry wait again whose run was made in part, as the process before this one was killed meanwhile. What
        holds more than that is a training that has lost its run.json: it stays."""
        folder = entry.run.path
        if all(path.name.startswith("run.json.") for path in folder.glob("*")):
            shutil.rmtree(folder, ignore_errors=True)
            edit(lambda queue: queue.with_entry(replace(entry, began=None)))
        else:
            self.note_end(entry, "failed", f"{folder} has lost its run.json, without which nothing can go on from it.")

    def is_interrupted(self, entry: Entry, found: tuple[End, str] | None) -> bool:
        """True if the run of an entry was ended by no fault of its own, and goes on from its checkpoint.

        So is one that stopped while nobody looked: a shutdown sends SIGTERM, which lets it stop as its user's command
        does. One that was killed is tried once more from each checkpoint.
        """
        if found is None or found[0] not in ("stopped", "killed"):
            return False
        if found[0] == "stopped":
            return entry.name not in self.followed
        was_tried = self.resumed_from.get(entry.name, NEVER) == entry.run.newest_checkpoint()
        return not was_tried and not killed_as_asked(entry.run)

    def resume(self, entry: Entry) -> None:
        """Let the run of an entry go on from its newest checkpoint. Raises UserError as `jobs.start`."""
        checkpoint = entry.run.newest_checkpoint()
        jobs.start(entry.run, "train")
        self.followed.add(entry.name)
        self.resumed_from[entry.name] = checkpoint
        say(f"{entry.name} goes on from {checkpoint.name if checkpoint else 'its start'}.")

    def begin_next(self) -> None:
        """Begin each entry that waits, may begin and finds its card free."""
        queue = read()
        waiting = [entry for entry in queue.open() if entry.began is None and (entry.after or 0) <= time.time()]
        if not (queue.go_on and waiting) or time.monotonic() < self.next_look:
            return
        machine = host.detect(runs.home() / "runs")
        self.next_look = time.monotonic() + LOOK_S
        taken = taken_cards() | _reserved(queue)
        self.idleness.look(machine, taken)
        for entry in waiting:
            self.begin(entry, machine, taken)

    def begin(self, entry: Entry, machine: Machine, taken: set[str]) -> None:
        """Begin an entry if its cards are free; they are added to `taken` then."""
        begun = replace(entry, began=time.time())
        try:
            recipe = entry.parsed()
            cards = choose(recipe, machine, taken)
        except UserError as error:
            self.note_end(begun, "refused", str(error))
            return
        if cards is None or (entry.when_idle and not self.idleness.all_idle(cards)):
            return
        queue = edit(lambda queue: queue.with_entry(begun) if queue.go_on else queue)
        if begun in queue.entries:  # else it was removed, or the queue stopped, since it was read
            self.start(begun, on_cards(recipe, cards, machine))
            taken.update(cards)

    def start(self, entry: Entry, recipe: Recipe) -> None:
        """Start the run of an entry that was noted as begun."""
        try:
            begun = jobs.begin(recipe, anyway=entry.anyway)
        except CardTaken:  # by someone who was quicker
            edit(lambda queue: queue.with_entry(replace(entry, began=None)))
        except UserError as error:
            self.note_end(entry, "refused", str(error))
        except Exception as error:  # of one entry: those behind it must not wait for someone who looks in the morning
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            self.note_end(entry, "refused", diagnose(error).message)
        else:
            self.followed.add(entry.name)
            for note in (*begun.notes, "It has begun."):
                say(f"{entry.name}: {note}")

    def note_end(self, entry: Entry, end: End, said: str) -> None:
        """Note how an entry has ended; its card is free for the next one."""
        said = redact(said)
        queue = edit(lambda queue: queue.with_entry(replace(entry, ended=time.time(), end=end, said=said)))
        self.next_look = 0.0
        say(f"{entry.name}: {end}. {said}")
        self.start_telling(queue.on_end, Notice(entry.name, end, said, entry.run.path))

    def start_telling(self, on_end: OnEnd | None, notice: Notice) -> None:
        """Tell an end in a thread."""
        if on_end:
            self.telling.append(threading.Thread(target=tell, args=(on_end, notice)))
            self.telling[-1].start()


def _has_left(lock: int, path: Path) -> bool:
    """Give the lock of the queue back; False, with the lock kept, if the queue was started again meanwhile.

    Both within an edit, as `start` notes first that the queue goes on, and then looks whether a process runs it: who
    sees this one can rely on it.
    """

    def leave(queue: Queue) -> Queue:
        if not queue.go_on:
            runs.note_end(lock, path)
            fcntl.lockf(lock, fcntl.LOCK_UN)
        return queue

    try:
        return not edit(leave).go_on
    except UserError:  # as in `run_open`, which waits for the repair
        return False


def _without_end(queue: Queue) -> Queue:
    """The queue, which goes on no more once nothing in it is open."""
    return queue if queue.open() else replace(queue, go_on=False)


def _reserved(queue: Queue) -> set[str]:
    """The cards of entries that have begun: one that was interrupted gets its own back."""
    reserved = set[str]()
    for entry in queue.open():
        if entry.began is not None:
            with suppress(UserError):  # its run can't be read: `follow` notes that
                reserved |= {card.uuid for card in entry.run.info().cards}
    return reserved


def say(text: str) -> None:
    """Print a line with the time, into the log; on a full disk it is lost."""
    with suppress(OSError):
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
