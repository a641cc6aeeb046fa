"""The lock of a run: its worker takes it and holds it while it lives; anyone may ask who holds it.

A POSIX lock on the file `lock`. Not a pid: those are reused, and a zombie has one. Not `flock`: a forked child would
keep it. Readers ask the kernel for the holder and never take the lock themselves.

Locks do not reach everywhere: not into a copy of the folder, and not through each network disk. There a worker counts
as alive as long as the time of the file is new, and its note does not say that it has ended.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from fitune.core.files import on_network_disk, open_file, read_file
from fitune.core.records import from_json

TAKE_WITHIN_S = 2.0
TOUCH_EVERY_S = 5.0
ALIVE_WITHIN_S = 120.0
"""A sign of life so long ago still counts where locks do not reach: a folder that is copied each minute shows one."""
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


@dataclass(frozen=True, slots=True, kw_only=True)
class LockNote:
    """The content of lock: the worker that holds it, or held it last."""

    pid: int | None = None
    """Its process id, as it sees it."""
    job: str = "train"
    """train, prepare, merge, export or push."""
    started: float | None = None
    """UTC seconds."""
    events: int | None = None
    """Number of the last event before those of this worker: unlike times, it is right when the clock is set back."""
    host: str | None = None
    """The name of its machine."""
    inode: int | None = None
    """The number of the file where it holds the lock: in a copy of the folder, the file has another one."""
    ended: bool = False
    """True once it has ended by itself, and was not killed."""


_held: dict[Path, tuple[int, LockNote]] = {}
"""The locks of this process, with their descriptors. It must not open these files again: a close drops the lock."""


def take_lock(path: Path, job: str) -> int | None:
    """Take the lock for as long as this process lives, and write the note into it; None if another worker has it.

    Returns its descriptor, which must stay the only one of that file in this process: closing any other would drop a
    POSIX lock.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.utime(fd)  # before it is held: nobody shall see a new worker with the last sign of life of the old one
    deadline = time.monotonic() + TAKE_WITHIN_S
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)
    note = LockNote(
        pid=os.getpid(), job=job, started=round(time.time(), 3), host=os.uname().nodename, inode=os.fstat(fd).st_ino
    )
    _write_note(fd, path, note)
    return fd


def note_events(fd: int, path: Path, events: int) -> None:
    """Add to the note of a lock that this process holds how many events there were before its own."""
    _write_note(fd, path, replace(_held[path][1], events=events))


def note_end(fd: int, path: Path) -> None:
    """Add to the note of a lock that this process holds that it has ended by itself."""
    _write_note(fd, path, replace(_held[path][1], ended=True))


def _write_note(fd: int, path: Path, note: LockNote) -> None:
    _held[path] = fd, note
    os.ftruncate(fd, 0)
    os.pwrite(fd, orjson.dumps(note, option=orjson.OPT_APPEND_NEWLINE), 0)


def keep_touching(fd: int, path: Path, when_gone: Callable[[], None]) -> None:
    """Touch the lock, so that readers can tell a stopped or frozen worker from a busy one. For a thread.

    when_gone: called once the lock is no longer at its path, because the run's folder was moved or deleted: nobody can
    see or stop the worker then.
    """
    while _is_at(fd, path):
        os.utime(fd)
        time.sleep(TOUCH_EVERY_S)
    when_gone()


def _is_at(fd: int, path: Path) -> bool:
    """True if an open file is still the one at that path, or the disk does not answer; False for a closed one."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        return error.errno != errno.EBADF


def holder_pid(path: Path) -> int | None:
    """The pid of another process that holds the lock; None if none does, 0 or less if it lives in another container, or
    on another machine.
    """
    if _own_note(path):  # the kernel names nobody either: its question is who else holds it
        return None
    try:
        fd = open_file(path)  # to read: asking needs no more, and a home may be there to be read only
    except PermissionError:
        raise
    except OSError:  # there is none, or something else of that name
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    if kind != fcntl.F_UNLCK:
        return int(pid)
    return 0 if _beats_elsewhere(path) else None


def _beats_elsewhere(path: Path) -> bool:
    """True if a worker shows signs of life whose lock does not reach here."""
    note = read_note(path)
    if note.host is None or note.ended:
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    is_copy = note.inode is not None and note.inode != found.st_ino
    is_far = note.host != os.uname().nodename and on_network_disk(path)
    return (is_copy or is_far) and abs(time.time() - found.st_mtime) < ALIVE_WITHIN_S


def read_note(path: Path) -> LockNote:
    """The note in the lock; empty if it is not known."""
    if note := _own_note(path):
        return note
    try:
        return from_json(LockNote, orjson.loads(read_file(path)))
    except (OSError, orjson.JSONDecodeError):
        return LockNote()


def _own_note(path: Path) -> LockNote | None:
    """The note of a lock that this process holds; None if it does not. A forked child holds none of its parent's."""
    fd, note = _held.get(path, (-1, LockNote()))
    return note if note.pid == os.getpid() and _is_at(fd, path) else None
