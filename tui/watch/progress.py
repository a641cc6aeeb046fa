"""The progress of a run as its events come: its state, the time left, and the phases of its newest job.

A worker's events say when a phase begins, how many bytes it has to do and how many are done; only a GGUF file, which a
library writes, is measured on the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fitune.core.intervals import checkpoint_s, most_in, times_in
from fitune.core.runs import Checkpoint, Eval, Event, Phase, Run, RunState, Sample, Started, Step, model_name
from fitune.tui.text import clean, count, duration
from fitune.tui.watch.phases import COMPILES, LOOKS, JobPhase, with_loaded_share

SURE_AFTER_STEPS = 20
"""Steps of this session after which the time left is told without "about"."""
SLOW_STEPS = 4
"""The first steps compile kernels and are slow, so that the pace leaves them out as soon as there are others."""
MANY_STEPS = 12
"""Of so many steps at the start the slowest tells nothing of the others: something else was started on the machine."""
FADES = 0.995
"""The weight that a step keeps at each later one: the pace follows a card that others use, too."""
EVAL_SHARE = 0.45
"""Seconds of a token in an evaluation, as a share of those in a step: a forward pass only, one of two or three. Where
the card waits for the host a row costs as much of a whole step, since evaluations take one row after another. This and
the next count until one was seen; that before the first step compiles kernels, so it is an upper bound only."""
SAVE_BYTES = 100_000_000
"""Bytes of a checkpoint whose event does not say them, as in runs without a budget: the adapter of a small model."""
ADAPTER_S = 0.5
"""Seconds in which the adapter is saved at the end: 0.3 to 0.7 s there."""
DETAIL_CHARS = 40
"""Of what a phase is about, that its time has room beside it in 80 columns."""
SILENT_AFTER_S = 15.0
"""A worker gives a sign of life each 5 s; after three missed ones there is a warning."""


@dataclass(slots=True)
class StepSeconds:
    """Seconds of a step by its tokens: the line through the steps so far with the least squares. A step costs something
    whatever it holds, and something for each token."""

    weight: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0
    products: float = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        """Add a step; earlier ones lose weight."""
        self.weight = self.weight * FADES + 1
        self.tokens = self.tokens * FADES + tokens
        self.seconds = self.seconds * FADES + seconds
        self.squares = self.squares * FADES + tokens * tokens
        self.products = self.products * FADES + tokens * seconds

    @property
    def token_s(self) -> float:
        """Seconds of a token, the fixed cost of a step included."""
        return self.seconds / self.tokens if self.tokens else 0.0

    def of(self, steps: float, tokens: float | None) -> float:
        """Seconds of so many steps with so many tokens together. None: as many tokens a step as so far."""
        mean_tokens, mean_s = self.tokens / self.weight, self.seconds / self.weight
        spread = self.squares - self.tokens * mean_tokens
        if tokens is None or spread <= 0:
            return steps * mean_s
        slope = (self.products - self.tokens * mean_s) / spread
        slope = min(self.token_s, max(0.0, slope))  # neither part of the cost is negative
        return steps * mean_s + slope * (tokens - steps * mean_tokens)


@dataclass(slots=True)
class TimeLeft:
    """Seconds until a training is finished, from the events of one session: its steps by their tokens, and the pauses
    between them. The phases "sample" and "train" say what comes."""

    plan: Phase = Phase(name="")  # noqa: RUF009 - it is frozen
    steps: int = 0
    """Steps of this session."""
    newest: tuple[Step, float] | None = None
    """The newest step, and the UTC seconds of its end."""
    first: list[tuple[float, float]] = field(default_factory=list)
    """(tokens, seconds) of the first steps that were timed: not all of them count."""
    pace: StepSeconds = field(default_factory=StepSeconds)
    evals: StepSeconds = field(default_factory=StepSeconds)
    """Seconds of the evaluations after steps."""
    first_eval: Eval | None = None
    """That before the first step."""
    saves: StepSeconds = field(default_factory=StepSeconds)
    """Seconds of the checkpoints."""
    done: set[type] = field(default_factory=set)
    """What was done since the newest step: the types of its events."""
    before_s: float = 0.0
    """UTC seconds of the newest event."""
    questions_began_s: float | None = None
    questions_s: float = 0.0
    """Seconds of the questions before the first step: as many come at the end."""

    def apply(self, event: Event) -> None:
        """Add an event of the session."""
        match event.data:
            case Phase(name="sample"):
                self.questions_began_s = event.t
            case Phase(name="train") as plan:
                self.plan = plan
                self.questions_s = max(0.0, event.t - (self.questions_began_s or event.t))
            case Eval() as evaluation if self.newest is None:
                self.first_eval = evaluation
            case Eval() | Checkpoint():
                kind = self.evals if isinstance(event.data, Eval) else self.saves
                kind.add(0, max(0.0, event.t - self.before_s))
                self.done.add(type(event.data))
            case Sample():
                self.done.add(Sample)
            case Step() as step:
                self._add_step(step, event.t)
        self.before_s = event.t

    def _add_step(self, step: Step, t: float) -> None:
        before, self.newest = self.newest, (step, t)
        self.steps += 1
        if before is not None:
            since_s, step_s = max(0.0, t - before[1]), step.step_s
            if not self.done:
                self._add_pace(_tokens(before[0], step), since_s)
            elif step_s is not None:
                self._add_pace(_tokens(before[0], step), step_s)
        self.done.clear()

    def _add_pace(self, tokens: float, seconds: float) -> None:
        if len(self.first) < SURE_AFTER_STEPS:
            self.first.append((tokens, seconds))
            self.pace = StepSeconds()
            for each in _typical(self.first):
                self.pace.add(*each)
        else:
            self.pace.add(tokens, seconds)

    @property
    def is_sure(self) -> bool:
        """The session had enough steps to tell the time left without "about"."""
        return self.steps >= SURE_AFTER_STEPS

    def seconds(self) -> float | None:
        """The seconds left; None before the second step of this session."""
        total = self.plan.total_steps
        if not total or self.newest is None or not self.pace.weight:
            return None
        step = self.newest[0]
        tokens = None
        if self.plan.tokens is not None and step.seen_tokens is not None:
            tokens = max(0.0, self.plan.tokens - step.seen_tokens)
        steps_s = self.pace.of(max(0, total - step.step), tokens)
        return max(0.0, steps_s + self._pauses_s(step.step, total, steps_s)) + self.questions_s

    def _pauses_s(self, step: int, total: int, steps_s: float) -> float:
        """Seconds of the evaluations and checkpoints that are due at this step and later, and of saving the adapter.
        steps_s: of the steps between them."""
        evals, saves = (
            times_in(every, total, step if kind in self.done else step - 1) if every else 0
            for kind, every in ((Eval, self.plan.eval_every), (Checkpoint, self.plan.save_every))
        )
        evals_s = self.evals.of(evals, None) if self.evals.weight else evals * self._first_eval_s()
        if self.plan.save_apart_s:
            saves = most_in(saves, steps_s + evals_s, self.plan.save_apart_s)
        save_s = checkpoint_s(self.plan.checkpoint_bytes or SAVE_BYTES)
        return evals_s + (self.saves.of(saves, None) if self.saves.weight else save_s * saves) + ADAPTER_S

    def _first_eval_s(self) -> float:
        """Seconds of an evaluation while none was seen after a step."""
        first = self.first_eval
        by_tokens = EVAL_SHARE * self.pace.token_s * (self.plan.eval_tokens or 0)
        if first is None or first.elapsed_s is None:
            return by_tokens
        by_rows = EVAL_SHARE * self.pace.of(1, None) * (first.rows or 0)
        return min(first.elapsed_s, max(by_tokens, by_rows))


def _typical(first: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of the first steps that tell the pace: without the earlier half, or SLOW_STEPS, and the slowest of many."""
    later = list(first[min(SLOW_STEPS, len(first) // 2) :])
    if len(later) >= MANY_STEPS:
        later.remove(max(later, key=lambda each: each[1]))
    return later


def _tokens(before: Step, step: Step) -> float:
    """The tokens of a step; 0 if they were not counted."""
    return 0 if before.seen_tokens is None or step.seen_tokens is None else step.seen_tokens - before.seen_tokens


@dataclass(slots=True)
class RunProgress:
    """All that is shown of a run while it lives, computed from its events."""

    state: RunState = field(default_factory=RunState)
    time_left: TimeLeft = field(default_factory=TimeLeft)
    phases: list[JobPhase] = field(default_factory=list)
    """The phases of the newest job, in order."""

    def apply(self, event: Event) -> None:
        """Add an event; a `started` begins a new job."""
        self.state.apply(event)
        match event.data:
            case Started():
                self.phases, self.time_left = [], TimeLeft()
            case Phase(name="race"):  # each of its trainings counts its steps and tokens anew
                self.time_left = TimeLeft()
            case Eval() if self.phases and self.phases[-1].detail == LOOKS:
                self.phases[-1] = replace(self.phases[-1], detail=self._first_step())
        self.time_left.apply(event)
        if isinstance(event.data, Phase):
            self._add_phase(event.data, event.t)

    def _add_phase(self, phase: Phase, t: float) -> None:
        """Append a phase, or update the last one if it is the same."""
        about = phase.kind or phase.branch or phase.repo or phase.model or ""
        detail = clean(about if len(about) <= DETAIL_CHARS else model_name(about), DETAIL_CHARS)
        if phase.name == "train" and phase.total_steps:
            looks = phase.eval_tokens and not self.state.eval_loss.points
            detail = COMPILES if phase.compiles else LOOKS if looks else self._first_step()
        file = clean(phase.file or "", 60)
        last = self.phases[-1] if self.phases else None
        if last and (last.name, last.detail) == (phase.name, detail):
            self.phases[-1] = replace(last, file=file, done_bytes=phase.done_bytes)
        else:
            self.phases.append(JobPhase(phase.name, t, detail, file, phase.done_bytes, phase.bytes))

    def _first_step(self) -> str:
        return f"step 0 of {count(self.total_steps or 0)}"

    @property
    def total_steps(self) -> int | None:
        return self.state.total_steps

    def left(self) -> str:
        """The time left in words, `about 3 min 05 s left`; empty while it is not known."""
        seconds = self.time_left.seconds()
        return "" if seconds is None else f"{'' if self.time_left.is_sure else 'about '}{duration(seconds)} left"

    def current_phases(self, run: Run, silent: bool = False) -> tuple[JobPhase, ...]:
        """The phases of the newest job; the first is the start of its worker, which writes no event of it.

        silent: the newest worker has written no event yet. A GGUF file that is written now has its bytes on the disk,
        and a model that is loaded now its count in the log.
        """
        began_s = run.lock_note().started
        phases = [] if silent else list(self.phases)
        if phases and phases[-1].name == "convert":
            done = _bytes_in(run.path / "gguf.part", f"*-{phases[-1].detail.upper()}.gguf")
            phases[-1] = replace(phases[-1], done_bytes=done)
        if phases:
            phases[-1] = with_loaded_share(phases[-1], run.log)
        if began_s is not None and (not phases or began_s <= phases[0].began_s):
            phases.insert(0, JobPhase("import", began_s))
        return tuple(phases)


def _bytes_in(folder: Path, pattern: str) -> int:
    """The size of the files there; one that is removed meanwhile counts nothing."""
    total = 0
    for path in folder.glob(pattern):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
