"""Runs: a folder each, with its lock, its events, its state, and the worker that is started on it."""

from fitune.core.runs.event_log import Event, EventLog, Tail
from fitune.core.runs.events import (
    Checkpoint,
    Eval,
    EventData,
    Failed,
    Finished,
    Forgot,
    Memory,
    Phase,
    RacedLap,
    Recovered,
    Sample,
    Score,
    Started,
    Step,
    Warned,
)
from fitune.core.runs.info import BudgetInfo, GpuInfo, RunInfo
from fitune.core.runs.lock import keep_touching, note_events, take_lock
from fitune.core.runs.run import LIVE, Run, Status
from fitune.core.runs.state import Curve, RunState, fold, spent_s
from fitune.core.runs.store import all_runs, create, delete, find, home, rename, rewrite, sizes, unreadable_runs

__all__ = [
    "LIVE",
    "BudgetInfo",
    "Checkpoint",
    "Curve",
    "Eval",
    "Event",
    "EventData",
    "EventLog",
    "Failed",
    "Finished",
    "Forgot",
    "GpuInfo",
    "Memory",
    "Phase",
    "RacedLap",
    "Recovered",
    "Run",
    "RunInfo",
    "RunState",
    "Sample",
    "Score",
    "Started",
    "Status",
    "Step",
    "Tail",
    "Warned",
    "all_runs",
    "create",
    "delete",
    "find",
    "fold",
    "home",
    "keep_touching",
    "note_events",
    "rename",
    "rewrite",
    "sizes",
    "spent_s",
    "take_lock",
    "unreadable_runs",
]
