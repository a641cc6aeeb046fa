"""Runs: a folder each, its events, where it stands, and the worker that is started on it."""

from fitune.core.runs.events import Event, EventLog, EventType, Tail
from fitune.core.runs.run import LIVE, Run, Status
from fitune.core.runs.state import Curve, RunState, fold, spent_s
from fitune.core.runs.store import all_runs, create, find, home, withheld

__all__ = [
    "LIVE",
    "Curve",
    "Event",
    "EventLog",
    "EventType",
    "Run",
    "RunState",
    "Status",
    "Tail",
    "all_runs",
    "create",
    "find",
    "fold",
    "home",
    "spent_s",
    "withheld",
]
