"""The requests of a run's newest merge, export, push and score: merge.json, export.json, push.json, score.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson

from fitune.core.records import from_json
from fitune.core.runs import Run


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """The content of merge.json."""

    base: str | None
    """The model to merge into, if it is not the one that was trained on: a Hub id or a folder."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The content of export.json."""

    gguf: tuple[str, ...]
    """The kinds of GGUF file, such as q8_0."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The content of push.json."""

    repo: str
    """The repository on the Hub, with or without its owner."""
    private: bool
    """True if only the owner may see it."""
    what: str
    """adapter, merged, gguf or checkpoints."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """The content of score.json."""

    data: str | None = None
    """A file or data set to score on; null: the run's held-out rows."""
    rows: int | None = None
    """Score at most so many rows; null: all of them."""


@dataclass(frozen=True, slots=True)
class RaceRequest:
    """The content of tune-lr.json."""

    budget_s: float
    """Seconds that the trainings of the race may take."""


Request = TypeVar("Request", MergeRequest, ExportRequest, PushRequest, ScoreRequest, RaceRequest)


def read(kind: type[Request], path: Path) -> Request:
    """A request from its file. Raises OSError if that can't be read, ValueError if it holds something else."""
    return from_json(kind, orjson.loads(path.read_bytes()), strictly=True)


def merge_base(run: Run) -> str | None:
    """The model that merge.json names; None without such a file, or where it names none."""
    path = run.path / "merge.json"
    return from_json(MergeRequest, orjson.loads(path.read_bytes())).base if path.is_file() else None
