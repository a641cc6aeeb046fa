"""The state of a run: all that its events say so far."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from fitune.core.runs.event_log import Event, Unknown
from fitune.core.runs.events import (
    Checkpoint,
    Eval,
    Failed,
    Finished,
    Forgot,
    Memory,
    Phase,
    Preferred,
    RacedLap,
    Recovered,
    Sample,
    Score,
    Started,
    Step,
    Warned,
)

HISTORY_POINTS = 2048
"""Most points kept of one curve: more than any terminal has columns."""


@dataclass(slots=True)
class Curve:
    """A series of (step, value), thinned evenly once it has more than HISTORY_POINTS."""

    points: list[tuple[int, float]] = field(default_factory=list)
    stride_steps: int = 1
    """Steps between two points; the newest may be nearer, until the next one takes its place."""

    def copy(self) -> "Curve":
        return Curve(list(self.points), self.stride_steps)

    def add(self, step: int, value: float | None) -> None:
        """Append a point, unless the value is no number."""
        if value is None or not math.isfinite(value):
            return
        if self.points and step <= self.points[-1][0]:  # resumed from an earlier checkpoint: the later steps are void
            self.points = [point for point in self.points if point[0] < step]
        if len(self.points) > 1 and self.points[-1][0] - self.points[-2][0] < self.stride_steps:
            self.points.pop()
        self.points.append((step, value))
        if len(self.points) > HISTORY_POINTS:
            self.points = self.points[::2]
            self.stride_steps = 2 * (step - self.points[0][0]) // HISTORY_POINTS


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a score of other rows than the run's own has found."""

    score: Score
    preferred: Preferred | None
    """The verdict on pairs; none where answers were not compared."""

    @property
    def word(self) -> str:
        """The verdict in a word, as that of a run."""
        return (self.preferred or self.score).word


AFTER_TRAINING = ("save", "pairs", "score", "probe")
"""The phases of a training that come behind its last step alone; it asks its questions before the first one, too."""


@dataclass(slots=True)
class RunState:
    """All that the events of a run say so far. They can't say if a worker is alive: see core/runs/lock.py."""

    job: str = "train"
    """The newest job: a merge or push comes after the training, in the same log. It may fail before it has started."""
    started_t: float | None = None
    """UTC seconds at which the newest job started."""
    ends: dict[str, Finished | Failed] = field(default_factory=dict)
    """The last event of each job; none while it goes on, or when it was killed."""
    ended_t: float | None = None
    """UTC seconds of the newest of these events."""
    phase: Phase = Phase(name="")  # noqa: RUF009 - it is frozen
    """The newest phase. A field that it leaves out keeps its value from the phases before."""
    steps_are_done: bool = False
    """True if the newest job has come to a phase behind the steps of a training."""
    step: Step | None = None
    """The newest step."""
    score: Score | None = None
    """The newest verdict on the run's own held-out rows; none while a training goes on."""
    forgot: Forgot | None = None
    """What the newest score found forgotten; none while a training goes on."""
    preferred: Preferred | None = None
    """What the newest score of its own rows found of better and worse answers; none where these were not compared."""
    elsewhere: dict[str, Verdicts] = field(default_factory=dict)
    """The newest verdicts on other rows, by their source; the newest of all comes last."""
    preferred_elsewhere: Preferred | None = None
    """The verdict on pairs of a score of other rows that goes on."""
    memory: Memory | None = None
    """The newest of the first card, or of the processor."""
    memory_beside: dict[int, Memory] = field(default_factory=dict)
    """The newest of the other cards of a training on several, by their place, from 1."""
    loss: Curve = field(default_factory=Curve)
    eval_loss: Curve = field(default_factory=Curve)
    margin: Curve = field(default_factory=Curve)
    """By how much the reward of better answers lies above that of worse ones, where answers are compared."""
    eval_margin: Curve = field(default_factory=Curve)
    pair_accuracy: Curve = field(default_factory=Curve)
    """Share of the held-out pairs that are told apart."""
    lr: Curve = field(default_factory=Curve)
    grad_norm: Curve = field(default_factory=Curve)
    tokens_per_s: Curve = field(default_factory=Curve)
    memory_bytes: Curve = field(default_factory=Curve)
    """The memory in use at a step: of the card, or of the process on a CPU."""
    busy_percent: Curve = field(default_factory=Curve)
    """The share of time in which the card computed."""
    warnings: dict[str, list[Warned | Recovered]] = field(default_factory=dict)
    """The warnings of each job."""
    samples: list[Sample] = field(default_factory=list)
    resumes: list[int] = field(default_factory=list)
    """The steps after which the training went on from a checkpoint."""
    clock_back_s: float = 0.0
    """The furthest that the clock was set back between two events."""
    seq: int = 0
    """The number of the newest event."""
    first_t: float | None = None
    last_t: float | None = None
    unknown: int = 0
    """Events of types this version does not know, or of steps that are no number."""

    @property
    def word(self) -> str | None:
        """The run's own verdict in a word: on what is preferred, where answers were compared, else on the answers."""
        found = self.preferred or self.score
        return found.word if found else None

    @property
    def end(self) -> Finished | Failed | None:
        """The last event of the newest job; None while it goes on, or when it was killed."""
        return self.ends.get(self.job)

    @property
    def trained(self) -> bool:
        """True if the training came to its last step, whatever later jobs did."""
        end = self.ends.get("train")
        return isinstance(end, Finished) and not end.stopped

    @property
    def is_past_training(self) -> bool:
        """True if a training that goes on has taken its last step, and saves, asks or scores what came of it: a stop
        changes nothing."""
        return self.job == "train" and self.end is None and self.steps_are_done

    @property
    def total_steps(self) -> int | None:
        return self.phase.total_steps

    def apply(self, event: Event) -> None:
        """Add one event to the state."""
        self.first_t = event.t if self.first_t is None else self.first_t
        self.clock_back_s = max(self.clock_back_s, (event.t if self.last_t is None else self.last_t) - event.t)
        self.last_t, self.seq = event.t, event.seq
        match event.data:
            case Started() as started:
                self.resumes += [] if started.resumed_from is None else [started.resumed_from]
                self.job, self.started_t, self.phase = event.job, event.t, replace(self.phase, name="")
                self.steps_are_done = False
                self.ends.pop(event.job, None)
                if event.job == "train":
                    self.score = self.forgot = self.preferred = None
                    self.elsewhere = {}
                self.preferred_elsewhere = None
            case Phase() as phase:
                self.phase = _merged(self.phase, phase)
                self.steps_are_done |= phase.name in AFTER_TRAINING
            case Step() as step:
                self.step = step
                self.loss.add(step.step, step.loss)
                self.lr.add(step.step, step.lr)
                self.grad_norm.add(step.step, step.grad_norm)
                self.tokens_per_s.add(step.step, step.tokens_per_s)
                self.margin.add(step.step, step.margin)
            case Eval() as eval_:
                self.eval_loss.add(eval_.step, eval_.loss)
                self.eval_margin.add(eval_.step, eval_.margin)
                self.pair_accuracy.add(eval_.step, eval_.pair_accuracy)
            case Score(source=str(source)) as score:
                self.elsewhere.pop(source, None)
                self.elsewhere[source] = Verdicts(score, self.preferred_elsewhere)
            case Score() as score:
                self.score = score
            case Preferred(source=str()) as preferred:
                self.preferred_elsewhere = preferred
            case Preferred() as preferred:
                self.preferred = preferred
            case Memory(card=int(card)) as memory:
                self.memory_beside[card] = memory
            case Forgot() as forgot:
                self.forgot = forgot
            case Memory() as memory:
                self.memory = memory
                if memory.step is not None:
                    self.memory_bytes.add(memory.step, memory.device or memory.reserved or memory.host)
                    self.busy_percent.add(memory.step, memory.busy_percent)
            case Warned() | Recovered() as warning:
                self.warnings.setdefault(event.job, []).append(warning)
            case Sample() as sample:
                self.samples.append(sample)
            case Finished() | Failed() as end:
                self.ends[event.job], self.job, self.ended_t = end, event.job, event.t
            case Unknown():
                self.unknown += 1
            case Checkpoint() | RacedLap():
                pass

    def copy(self) -> "RunState":
        """A copy that later events do not change: for another thread."""
        return replace(
            self,
            ends=dict(self.ends),
            elsewhere=dict(self.elsewhere),
            memory_beside=dict(self.memory_beside),
            loss=self.loss.copy(),
            eval_loss=self.eval_loss.copy(),
            margin=self.margin.copy(),
            eval_margin=self.eval_margin.copy(),
            pair_accuracy=self.pair_accuracy.copy(),
            lr=self.lr.copy(),
            grad_norm=self.grad_norm.copy(),
            tokens_per_s=self.tokens_per_s.copy(),
            memory_bytes=self.memory_bytes.copy(),
            busy_percent=self.busy_percent.copy(),
            warnings={job: list(warnings) for job, warnings in self.warnings.items()},
            samples=list(self.samples),
            resumes=list(self.resumes),
        )


def _merged(before: Phase, phase: Phase) -> Phase:
    """A phase whose missing fields are taken from those before."""
    known = {field.name: value for field in fields(Phase) if (value := getattr(phase, field.name)) is not None}
    return replace(before, **known)


def fold(events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Apply events, in order, to a state (a new one if none is given) and return it."""
    state = state or RunState()
    for event in events:
        state.apply(event)
    return state


def spent_s(events: Iterable[Event], job: str) -> float:
    """Seconds that workers spent on a job, by the times of its events; the time before each `started` was a pause."""
    spent, before_s = 0.0, None
    for event in events:
        if event.job == job:
            if before_s is not None and not isinstance(event.data, Started):
                spent += max(0.0, event.t - before_s)  # a clock may be set back
            before_s = event.t
    return spent
