"""The story of a run: an append-only JSONL file with one writer and any number of readers, who never meet.

Numbers only, never formatted text. Strict when writing, tolerant when reading: a torn or unknown line is counted and
skipped, since disks fill up and older readers meet newer runs.
"""

import os
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
_STEP = b'"type":"step"'  # can't stand inside a JSON string, whose quotes are escaped


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
        """Append one event. A full disk costs this event, never the run: the next writes try again."""
        self._seq += 1
        event = {"v": 1, "seq": self._seq, "t": round(time.time(), 3), "job": self._job, "type": type, "data": data}
        line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
        if self._torn:
            line = b"\n" + line
        try:
            self._torn = os.write(self._fd, line) != len(line)
        except OSError as error:
            os.write(2, f"events.jsonl: {error.strerror}; a {type} event was lost\n".encode())


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
        for block in self._blocks():
            if backlog_bytes > LONG_BACKLOG_BYTES and block.count(_STEP) == block.count(b"\n") + 1:
                yield from self._parsed([block[: block.find(b"\n")], block[block.rfind(b"\n") + 1 :]])
            else:
                yield from self._parsed(block.split(b"\n"))

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
                    yield self._rest + whole
                    self._rest = rest
                else:
                    self._rest += rest
        finally:
            os.close(fd)


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
    stride: int = 1

    def add(self, step: int, value: float) -> None:
        if self.points and step <= self.points[-1][0]:  # resumed from an earlier checkpoint: the later steps are void
            self.points = [point for point in self.points if point[0] < step]
        self.points.append((step, value))
        if len(self.points) > HISTORY_POINTS:
            self.points = self.points[::2]
            self.stride *= 2


@dataclass(slots=True)
class RunState:
    """All that the events of a run say so far. Liveness is not in here: that is the lock's business (core.runs)."""

    started: Event | None = None
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
    end: Event | None = None
    """The job's last event, finished or failed; None while it goes on, or when it was killed."""
    first_t: float | None = None
    last_t: float | None = None
    unknown: int = 0
    """Events of types this version does not know."""

    @property
    def total_steps(self) -> int | None:
        return self.phase_data.get("total_steps")

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        self.first_t = event.t if self.first_t is None else self.first_t
        self.last_t = event.t
        data = event.data
        match event.type:
            case "started":
                self.started, self.end = event, None
            case "phase":
                self.phase = str(data.get("name", ""))
                self.phase_data |= data
            case "step":
                self.step = data
                if isinstance(loss := data.get("loss"), int | float):
                    self.loss.add(int(data.get("step", 0)), float(loss))
            case "eval":
                if isinstance(loss := data.get("loss"), int | float):
                    self.eval_loss.add(int(data.get("step", 0)), float(loss))
            case "memory":
                self.memory = data
            case "checkpoint":
                self.checkpoints.append(int(data.get("step", 0)))
            case "warning" | "recovered":
                self.warnings.append({"type": event.type, **data})
            case "sample":
                self.samples.append(data)
            case "finished" | "failed":
                self.end = event
            case _:
                self.unknown += 1


def fold(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Apply events, in order, to a state (a new one if none is given) and return it."""
    state = state or RunState()
    for event in events:
        state.apply(event)
    return state
