"""Events for tests: written as other versions and damaged disks leave them, and read back by their type."""

import json
from pathlib import Path
from typing import TypeVar

from fitune.core.runs import Event, EventData, Run, Tail
from fitune.core.runs.event_log import parse_line

Data = TypeVar("Data", bound=EventData)


def raw_line(seq: int, kind: str, job: str = "train", t: float = 1.5, /, **data: object) -> bytes:
    """A line of events.jsonl with any data at all."""
    raw = {"v": 1, "seq": seq, "t": t, "job": job, "type": kind, "data": data}
    return json.dumps(raw, separators=(",", ":")).encode() + b"\n"


def write_raw(path: Path, kind: str, job: str = "train", /, **data: object) -> None:
    """Append a line with any data at all."""
    lines = path.read_bytes().count(b"\n") if path.exists() else 0
    with path.open("ab") as file:
        file.write(raw_line(lines + 1, kind, job, **data))


def event_of(seq: int, t: float, job: str, kind: str, /, **data: object) -> Event:
    """An event as it is read from a line with such data."""
    read = parse_line(raw_line(seq, kind, job, t, **data))
    assert read
    return read


def data_of(path: Path, kind: type[Data]) -> list[Data]:
    """The data of all events of a type, in order."""
    return [each.data for each in Tail(path).read() if isinstance(each.data, kind)]


def step_of(run: Run) -> int:
    """The newest step of a run; 0 before the first."""
    step = run.state().step
    return step.step if step else 0
