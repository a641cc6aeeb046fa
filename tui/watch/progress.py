"""The progress of a run as its events come: its state, the time left, and the phases of its newest job.

A worker's events say when a phase begins, how many bytes it has to do and how many are done; only a GGUF file, which a
library writes, is measured on the disk.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from fitune.core.runs import Event, Phase, Run, RunState, Started, Step
from fitune.tui.text import clean, count
from fitune.tui.watch.phases import JobPhase, with_loaded_share

ETA_AFTER_STEPS = 20
"""The first steps compile kernels and are slow: a time left that is computed from them would be wrong."""
SILENT_AFTER_S = 15.0
"""A worker gives a sign of life each 5 s; after three missed ones there is a warning."""


@dataclass(slots=True)
class TimeLeft:
    """Seconds until the last step, by the mean pace of this session without its first, slow steps."""

    first_step: int | None = None
    anchor: tuple[int, float] | None = None
    newest: tuple[int, float] = (0, 0.0)

    def apply(self, event: Event) -> None:
        """Add an event; a `started` begins a new session."""
        if isinstance(event.data, Started):
            self.first_step = self.anchor = None
        if not isinstance(event.data, Step):
            return
        self.newest = (event.data.step, event.t)
        if self.first_step is None:
            self.first_step = self.newest[0]
        if self.anchor is None and self.newest[0] - self.first_step >= 4:
            self.anchor = self.newest

    def seconds(self, total_steps: float | None) -> float | None:
        """The seconds left; None until ETA_AFTER_STEPS steps of this session are done."""
        step, t = self.newest
        if not total_steps or self.first_step is None or self.anchor is None:
            return None
        if step - self.first_step + 1 < ETA_AFTER_STEPS or step <= self.anchor[0]:
            return None
        return max(0, total_steps - step) * (t - self.anchor[1]) / (step - self.anchor[0])


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
        self.time_left.apply(event)
        if isinstance(event.data, Started):
            self.phases = []
        if isinstance(event.data, Phase):
            self._add_phase(event.data, event.t)

    def _add_phase(self, phase: Phase, t: float) -> None:
        """Append a phase, or update the last one if it is the same."""
        detail = clean(phase.kind or phase.branch or phase.repo or phase.model or "", 80)
        if phase.name == "train" and phase.total_steps:
            detail = f"step 0 of {count(phase.total_steps)}"
        file = clean(phase.file or "", 60)
        last = self.phases[-1] if self.phases else None
        if last and (last.name, last.detail) == (phase.name, detail):
            self.phases[-1] = replace(last, file=file, done_bytes=phase.done_bytes)
        else:
            self.phases.append(JobPhase(phase.name, t, detail, file, phase.done_bytes, phase.bytes))

    @property
    def total_steps(self) -> int | None:
        return self.state.total_steps

    def eta_s(self) -> float | None:
        """Seconds left; None while that is not known."""
        return self.time_left.seconds(self.total_steps)

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
