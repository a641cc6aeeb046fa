"""Runs: a folder each, its events, where it stands, and the worker that is started on it."""

from fitune.core.runs.event_log import Event, EventLog, Tail
from fitune.core.runs.events import (
    Checkpoint,
    Eval,
    EventData,
    Failed,
    Finished,
    Memory,
    Phase,
    Recovered,
    Sample,
    Started,
    Step,
    Warned,
)
from fitune.core.runs.info import BudgetInfo, GpuInfo, LockNote, RunInfo
from fitune.core.runs.run import LIVE, Run, Status
from fitune.core.runs.state import Curve, RunState, fold, spent_s
from fitune.core.runs.store import all_runs, create, find, home, withheld

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
    "GpuInfo",
    "LockNote",
    "Memory",
    "Phase",
    "Recovered",
    "Run",
    "RunInfo",
    "RunState",
    "Sample",
    "Started",
    "Status",
    "Step",
    "Tail",
    "Warned",
    "all_runs",
    "create",
    "find",
    "fold",
    "home",
    "spent_s",
    "withheld",
]
