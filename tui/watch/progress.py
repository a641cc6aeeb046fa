"""The progress of a run as its events come: its state, the time left, and the phases of its newest job.

A worker's events say when a phase begins, how many bytes it has to do and how many are done; only a GGUF file, which a
library writes, is measured on the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fitune.core.runs import Event, Phase, Run, RunState, Started, Step
from fitune.tui.text import clean, duration, size

PHASES = {
    "download": "fetching the model",
    "load": "loading the model",
    "data": "reading the data",
    "prepare": "preparing",
    "train": "training",
    "save": "saving the adapter",
    "sample": "asking it questions from the data",
    "merge": "merging the adapter into the model",
    "write": "writing the merged model",
    "verify": "checking what was written",
    "prove": "comparing what was written with the trained model",
    "convert": "writing a GGUF file",
    "ask": "asking the Hub",
    "upload": "uploading",
}
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


@dataclass(frozen=True, slots=True)
class JobPhase:
    """A phase of a job with its progress. A phase that comes again for another thing is another one."""

    name: str
    began_s: float
    """UTC seconds."""
    detail: str = ""
    """Its object: a kind of file, a branch, a repository or a model."""
    file: str = ""
    """The file that is sent now."""
    done_bytes: float | None = None
    total_bytes: float | None = None

    @property
    def share(self) -> float | None:
        """The share of it that is done, from 0 to 1; None if that is not known."""
        return None if self.done_bytes is None or not self.total_bytes else min(1.0, self.done_bytes / self.total_bytes)

    @property
    def text(self) -> str:
        """The phase in words, with its object."""
        return phase_text(self.name) + (f" ({self.detail})" if self.detail else "")

    def numbers(self, now_s: float) -> str:
        """Bytes done, bytes a second and the file in hand; only the total where the rest is not known."""
        if self.done_bytes is None or not self.total_bytes:
            return f"{size(self.total_bytes)} in all" if self.total_bytes else ""
        elapsed_s = now_s - self.began_s
        speed = f"{size(self.done_bytes / elapsed_s)}/s" if self.done_bytes and elapsed_s >= 1 else ""
        texts = (f"{size(self.done_bytes)} of {size(self.total_bytes)}", speed, self.file)
        return "   ".join(text for text in texts if text)


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

    def current_phases(self, run: Run) -> tuple[JobPhase, ...]:
        """The phases of the newest job; of a GGUF file that is written now, with its bytes on the disk."""
        if not self.phases:
            return ()
        last = self.phases[-1]
        if last.name == "convert":
            last = replace(last, done_bytes=_bytes_in(run.path / "gguf.part", f"*-{last.detail.upper()}.gguf"))
        return (*self.phases[:-1], last)


def phase_text(name: str) -> str:
    """A phase in words; one that this version does not know by its own name."""
    return PHASES.get(name, clean(name, 40))


def phase_lines(phases: Sequence[JobPhase], now_s: float) -> list[tuple[str, str]]:
    """(word, line) of each phase of a job that lives: the phase in words, and the time it took or has taken so far."""
    ends = [phase.began_s for phase in phases[1:]] + [now_s]
    words = ["OK"] * (len(phases) - 1) + ["now"]
    columns = max((len(phase.text) for phase in phases), default=0) + 3
    return [
        (word, f"{phase.text:<{columns}}{duration(end - phase.began_s)}")
        for word, phase, end in zip(words, phases, ends, strict=False)
    ]


def _bytes_in(folder: Path, pattern: str) -> int:
    """The size of the files there; one that is removed meanwhile counts nothing."""
    total = 0
    for path in folder.glob(pattern):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
