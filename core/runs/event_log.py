"""The log of a run: an append-only file of JSON lines with one writer and any number of readers, who never meet.

Strict when writing, tolerant when reading: a torn line is counted and skipped, since disks fill up; what an event lacks
or has in another type is None, since older readers meet newer runs.
"""

import math
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from fitune.core.errors import UserError
from fitune.core.files import open_file
from fitune.core.records import from_json, to_json
from fitune.core.runs.events import TYPES, EventData, Failed, Finished

BLOCK_BYTES = 1 << 16
LONG_BACKLOG_BYTES = 8 << 20
"""A reader that attaches to more than this does not parse every step, so that a million take under a second."""
LONGEST_LINE_BYTES = 16 << 20
"""A longer line is no event: of one without an end only this much is kept in memory."""
RETRY_LAST_EVENT_S = 30.0
"""Seconds in which the last event of a job is tried again on a full disk: without it the run counts as killed."""
_STEP = b'"type":"step"'  # as EventLog writes it; can't stand inside a JSON string, whose quotes are escaped
_NO_STEP = re.compile(b'"type":"(?!step")')


_KINDS = {kind.type: kind for kind in TYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An event of a type that this version does not know, or whose step is no whole number."""

    type: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of events.jsonl."""

    seq: int
    """Number of the line, from 1."""
    t: float
    """UTC seconds."""
    job: str
    """train, prepare, merge, export or push. One works at a time: the lock sees to it."""
    data: EventData | Unknown

    @property
    def type(self) -> str:
        """The word in the file."""
        return self.data.type


class EventLog:
    """The one writer. Each event is a single append, so a kill leaves at most one torn line, at the end."""

    def __init__(self, path: Path, job: str) -> None:
        """path: the file, or a pipe."""
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._job, self._one_at_a_time = job, threading.Lock()
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, BLOCK_BYTES, max(0, size - BLOCK_BYTES)) if size else b""
        self._torn = bool(tail) and not tail.endswith(b"\n")
        self.seq = max((event.seq for line in tail.split(b"\n") if (event := parse_line(line))), default=0)

    def write(self, data: EventData) -> None:
        """Append one event. A full disk costs this event, never the run: the next writes try again.

        The last event of a job says how it ended, so it is tried again for RETRY_LAST_EVENT_S.
        """
        with self._one_at_a_time:
            self._write(data)

    def _write(self, data: EventData) -> None:
        self.seq += 1
        event = {
            "v": 1,
            "seq": self.seq,
            "t": round(time.time(), 3),
            "job": self._job,
            "type": data.type,
            "data": to_json(data),
        }
        line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
        deadline = time.monotonic() + (RETRY_LAST_EVENT_S if isinstance(data, Finished | Failed) else 0.0)
        while not self._append(line):
            if time.monotonic() >= deadline:
                os.write(2, f"events.jsonl can't be written: a {data.type} event was lost: {line.decode()}".encode())
                break
            time.sleep(0.5)

    def _append(self, line: bytes) -> bool:
        """Append the line; False if it is not in the file as a whole. A torn line before it gets a line end first."""
        whole = b"\n" + line if self._torn else line
        try:
            written = os.write(self._fd, whole)
        except OSError:
            return False
        self._torn = written != len(whole)
        return not self._torn


class Tail:
    """Reads a growing log: each call of `read` yields what came since, and no byte is read twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.bad_lines = 0
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def read(self) -> Iterator[Event]:
        """Every new event in order. A line without its newline waits for the next call."""
        for block in self._blocks():
            yield from self._parsed(block.split(b"\n"))

    def catch_up(self) -> Iterator[Event]:
        """Like `read`, but like `read_thinned` for a long backlog: enough points for any chart."""
        backlog_bytes = self.path.stat().st_size - self.offset if self.path.exists() else 0
        return self.read_thinned() if backlog_bytes > LONG_BACKLOG_BYTES else self.read()

    def read_thinned(self) -> Iterator[Event]:
        """Like `read`, but of each block's steps only the first and the last: the newest state, not every loss."""
        for block in self._blocks():
            yield from self._parsed(_thinned(block))

    def _parsed(self, lines: list[bytes]) -> Iterator[Event]:
        for line in lines:
            if event := parse_line(line):
                yield event
            elif line.strip():
                self.bad_lines += 1

    def _blocks(self) -> Iterator[bytes]:
        """The new bytes in blocks of whole lines, without each block's last newline.

        Raises UserError for a log that can't be read, as one that is a folder or a pipe.
        """
        try:
            fd = open_file(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            hint = "Move it away; what the run said is lost then."
            raise UserError(f"{self.path} can't be read: {error.strerror}.", hint) from None
        try:
            while chunk := os.pread(fd, BLOCK_BYTES, self.offset):
                self.offset += len(chunk)
                whole, newline, rest = chunk.rpartition(b"\n")
                if newline:
                    block = b"".join((*self._rest, whole))
                    self._rest, self._rest_bytes = [rest], len(rest)
                    yield block
                else:
                    self._keep_rest(rest)
        finally:
            os.close(fd)

    def _keep_rest(self, rest: bytes) -> None:
        """Keep more of a line without an end; of one that is too long only so much that it is counted as a bad line."""
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        if self._rest_bytes > LONGEST_LINE_BYTES:
            self._rest, self._rest_bytes = [b"too long"], len(b"too long")


def _thinned(block: bytes) -> list[bytes]:
    """The lines of a block without its steps but the first and the last: found without parsing each line."""
    marks = {block.find(_STEP), block.rfind(_STEP), *(match.start() for match in _NO_STEP.finditer(block))} - {-1}
    starts = sorted({block.rfind(b"\n", 0, mark) + 1 for mark in marks})
    ends = [block.find(b"\n", start) for start in starts]
    return [block[start:] if end == -1 else block[start:end] for start, end in zip(starts, ends, strict=True)]


def parse_line(line: bytes) -> Event | None:
    """One line as an Event; None if it is torn, or not an event of this contract."""
    try:
        raw = orjson.loads(line)
        data = _parsed(str(raw["type"]), dict(raw["data"]))
        return Event(int(raw["seq"]), float(raw["t"]), str(raw["job"]), data)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _parsed(name: str, raw: dict[str, object]) -> EventData | Unknown:
    kind = _KINDS.get(name)
    if kind is None or not isinstance(raw.get("step", 0), int):
        return Unknown(type=name)
    if "loss" in raw and raw["loss"] is None:
        raw["loss"] = math.nan  # which JSON can't express
    return from_json(kind, raw)
