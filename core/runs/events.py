"""The story of a run: an append-only JSONL file with one writer and any number of readers, who never meet.

Numbers only, never formatted text. Strict when writing, tolerant when reading: a torn or unknown line is counted and
skipped, since disks fill up and older readers meet newer runs.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

EventType = Literal[
    "started", "phase", "step", "eval", "memory", "checkpoint", "warning", "recovered", "sample", "finished", "failed"
]  # fmt: skip
BLOCK_BYTES = 1 << 16
HISTORY_POINTS = 2048
"""Most points kept of one curve: more than any terminal has columns."""
LONG_BACKLOG_BYTES = 8 << 20
"""A reader that attaches to more than this does not parse every step, so that a million take under a second."""
LAST_WORD_PATIENCE_S = 30.0
"""How long the last event of a job is tried again on a full disk: without it the run counts as killed."""
_STEP = b'"type":"step"'  # as EventLog writes it; can't stand inside a JSON string, whose quotes are escaped
_NO_STEP = re.compile(b'"type":"(?!step")')


@dataclass(frozen=True, slots=True)
class Event:
    """One line of events.jsonl."""

    seq: int
    t: float
    """UTC seconds."""
    job: str
    """train, prepare, merge, export, push ...: one at a time, the lock sees to it."""
    type: str
    data: dict[str, Any]


class EventLog:
    """The one writer. Each event is a single append, so a kill leaves at most one torn line, at the end."""

    def __init__(self, path: Path, job: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._job = job
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, BLOCK_BYTES, max(0, size - BLOCK_BYTES))
        self._torn = bool(tail) and not tail.endswith(b"\n")
        self._seq = max((event.seq for line in tail.split(b"\n") if (event := parse_line(line))), default=0)

    def write(self, type: EventType, **data: Any) -> None:  # noqa: A002 - the contract's word
        """Append one event. A full disk costs this event, never the run: the next writes try again.

        The last event of a job says how it ended, so it is worth some patience.
        """
        self._seq += 1
        event = {"v": 1, "seq": self._seq, "t": round(time.time(), 3), "job": self._job, "type": type, "data": data}
        line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
        deadline = time.monotonic() + (LAST_WORD_PATIENCE_S if type in ("finished", "failed") else 0.0)
        while not self._append(line):
            if time.monotonic() >= deadline:
                os.write(2, f"events.jsonl can't be written: a {type} event was lost: {line.decode()}".encode())
                break
            time.sleep(0.5)

    def _append(self, line: bytes) -> bool:
        """Whether the line is in the file, whole. A part of one that was left there gets a line end first."""
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
        self._rest = b""

    def read(self) -> Iterator[Event]:
        """Every new event in order. A line without its newline waits for the next call."""
        for block in self._blocks():
            yield from self._parsed(block.split(b"\n"))

    def catch_up(self) -> Iterator[Event]:
        """Like `read`, but of a long backlog only the first and last of each block of steps: enough for any picture."""
        backlog_bytes = self.path.stat().st_size - self.offset if self.path.exists() else 0
        return self.glance() if backlog_bytes > LONG_BACKLOG_BYTES else self.read()

    def glance(self) -> Iterator[Event]:
        """Like `read`, but of each block of steps only the first and the last: where things stand, not every loss."""
        for block in self._blocks():
            yield from self._parsed(_thinned(block))

    def _parsed(self, lines: list[bytes]) -> Iterator[Event]:
        for line in lines:
            if event := parse_line(line):
                yield event
            elif line.strip():
                self.bad_lines += 1

    def _blocks(self) -> Iterator[bytes]:
        """The new bytes in blocks of whole lines, without each block's last newline."""
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            while chunk := os.pread(fd, BLOCK_BYTES, self.offset):
                self.offset += len(chunk)
                whole, newline, rest = chunk.rpartition(b"\n")
                if newline:
                    block, self._rest = self._rest + whole, rest
                    yield block
                else:
                    self._rest += rest
        finally:
            os.close(fd)


def _thinned(block: bytes) -> list[bytes]:
    """Of whole lines those which are no steps, and the first and the last step: found without a look at each line."""
    marks = {block.find(_STEP), block.rfind(_STEP), *(found.start() for found in _NO_STEP.finditer(block))} - {-1}
    starts = sorted({block.rfind(b"\n", 0, mark) + 1 for mark in marks})
    ends = [block.find(b"\n", start) for start in starts]
    return [block[start:] if end == -1 else block[start:end] for start, end in zip(starts, ends, strict=True)]


def parse_line(line: bytes) -> Event | None:
    """One line as an Event; None if it is torn, or not an event of this contract."""
    try:
        raw = orjson.loads(line)
        return Event(int(raw["seq"]), float(raw["t"]), str(raw["job"]), str(raw["type"]), dict(raw["data"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


@dataclass(slots=True)
class Curve:
    """A series of (step, value), thinned evenly once it has more than HISTORY_POINTS."""

    points: list[tuple[int, float]] = field(default_factory=list)
    stride_steps: int = 1
    """How far apart points are; the newest may be nearer, until the next one takes its place."""

    def add(self, step: int, value: float) -> None:
        if self.points and step <= self.points[-1][0]:  # resumed from an earlier checkpoint: the later steps are void
            self.points = [point for point in self.points if point[0] < step]
        if len(self.points) > 1 and self.points[-1][0] - self.points[-2][0] < self.stride_steps:
            self.points.pop()
        self.points.append((step, value))
        if len(self.points) > HISTORY_POINTS:
            self.points = self.points[::2]
            self.stride_steps = 2 * (step - self.points[0][0]) // HISTORY_POINTS


@dataclass(slots=True)
class RunState:
    """All that the events of a run say so far. Liveness is not in here: that is the lock's business (core.runs.run)."""

    started: Event | None = None
    job: str = "train"
    """The newest job: a merge or push comes after the training, in the same log. It may fail before it has started."""
    ends: dict[str, Event] = field(default_factory=dict)
    """The last event, finished or failed, of each job; none while it goes on, or when it was killed."""
    phase: str = ""
    phase_data: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    """The newest step's numbers: step, epoch, loss, lr, grad_norm, tokens_per_s, seen_tokens, step_s."""
    memory: dict[str, Any] = field(default_factory=dict)
    loss: Curve = field(default_factory=Curve)
    eval_loss: Curve = field(default_factory=Curve)
    checkpoints: list[int] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    first_t: float | None = None
    last_t: float | None = None
    unknown: int = 0
    """Events of types this version does not know, or of steps that are no number."""

    @property
    def end(self) -> Event | None:
        """How the newest job ended."""
        return self.ends.get(self.job)

    @property
    def trained(self) -> bool:
        """Whether the training came to its last step, whatever later jobs did."""
        end = self.ends.get("train")
        return end is not None and end.type == "finished" and not end.data.get("stopped")

    @property
    def total_steps(self) -> int | None:
        total = self.phase_data.get("total_steps")
        return total if isinstance(total, int) else None

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        self.first_t = event.t if self.first_t is None else self.first_t
        self.last_t = event.t
        data, step = event.data, event.data.get("step", 0)
        match event.type:
            case _ if not isinstance(step, int):
                self.unknown += 1
            case "started":
                self.started, self.job, self.phase = event, event.job, ""
                self.ends.pop(event.job, None)
            case "phase":
                self.phase = str(data.get("name", ""))
                self.phase_data |= data
            case "step":
                self.step = data
                if isinstance(loss := data.get("loss"), int | float):
                    self.loss.add(step, float(loss))
            case "eval":
                if isinstance(loss := data.get("loss"), int | float):
                    self.eval_loss.add(step, float(loss))
            case "memory":
                self.memory = data
            case "checkpoint":
                self.checkpoints.append(step)
            case "warning" | "recovered":
                self.warnings.append({"type": event.type, "job": event.job, **data})
            case "sample":
                self.samples.append(data)
            case "finished" | "failed":
                self.ends[event.job], self.job = event, event.job
            case _:
                self.unknown += 1


def fold(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Apply events, in order, to a state (a new one if none is given) and return it."""
    state = state or RunState()
    for event in events:
        state.apply(event)
    return state


def spent_s(events: Iterable[Event], job: str) -> float:
    """Seconds that workers were at a job, by the times of its events: what lies before each start was a pause."""
    spent, before_s = 0.0, None
    for event in events:
        if event.job == job:
            if before_s is not None and event.type != "started":
                spent += max(0.0, event.t - before_s)  # a clock may be set back
            before_s = event.t
    return spent
