"""Where a run stands: all that its events say so far."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fitune.core.runs.events import Event

HISTORY_POINTS = 2048
"""Most points kept of one curve: more than any terminal has columns."""


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
