"""What a merge, an export or a push has done so far: its parts in order, and how far the one is that goes on.

A worker tells when a part begins, how large it gets and how far it is; of a GGUF file, which a library writes, the disk
tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fitune.core.runs import Event, Phase, Run, Started
from fitune.tui.text import clean, duration, size
from fitune.tui.watch.ending import phase_text


@dataclass(frozen=True, slots=True)
class Part:
    """A phase of a job; a phase that comes several times for several things is several parts."""

    name: str
    began_s: float
    """UTC seconds."""
    detail: str = ""
    """What it is about: a kind of file, a branch, a repository, a model."""
    file: str = ""
    """Which file is being sent."""
    done_bytes: float | None = None
    total_bytes: float | None = None

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None where that is not known."""
        return None if self.done_bytes is None or not self.total_bytes else min(1.0, self.done_bytes / self.total_bytes)

    @property
    def text(self) -> str:
        """What it does, in words."""
        return phase_text(self.name) + (f" ({self.detail})" if self.detail else "")

    def numbers(self, now_s: float) -> str:
        """How much is done, how fast, and which file is in hand; only how much it is where the rest is not known."""
        if self.done_bytes is None or not self.total_bytes:
            return f"{size(self.total_bytes)} in all" if self.total_bytes else ""
        taken_s = now_s - self.began_s
        fast = f"{size(self.done_bytes / taken_s)}/s" if self.done_bytes and taken_s >= 1 else ""
        return "   ".join(
            each for each in (f"{size(self.done_bytes)} of {size(self.total_bytes)}", fast, self.file) if each
        )


@dataclass(slots=True)
class Parts:
    """The parts of the newest job, as its events come."""

    parts: list[Part] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        """Take an event into account; a `started` begins a new job."""
        phase = event.data
        if isinstance(phase, Started):
            self.parts = []
        if not isinstance(phase, Phase):
            return
        detail = clean(phase.kind or phase.branch or phase.repo or phase.model or "", 80)
        name, file, done_bytes = phase.name, clean(phase.file or "", 60), phase.done_bytes
        before = self.parts[-1] if self.parts else None
        if before and (before.name, before.detail) == (name, detail):  # told again, further on
            self.parts[-1] = replace(before, file=file, done_bytes=done_bytes)
        else:
            self.parts.append(Part(name, event.t, detail, file, done_bytes, phase.bytes))

    def now(self, run: Run) -> tuple[Part, ...]:
        """The parts, the last of them with what the disk holds of it by now."""
        if not self.parts:
            return ()
        last = self.parts[-1]
        if last.name == "convert":
            last = replace(last, done_bytes=_bytes_in(run.path / "gguf.part", f"*-{last.detail.upper()}.gguf"))
        return (*self.parts[:-1], last)


def listed(parts: Sequence[Part], now_s: float) -> list[tuple[str, str]]:
    """(word, line) of each part of a job that lives: what it does, and how long it took or takes."""
    ends = [part.began_s for part in parts[1:]] + [now_s]
    words = ["OK"] * (len(parts) - 1) + ["now"]
    columns = max((len(part.text) for part in parts), default=0) + 3
    return [
        (word, f"{part.text:<{columns}}{duration(end - part.began_s)}")
        for word, part, end in zip(words, parts, ends, strict=False)
    ]


def _bytes_in(folder: Path, pattern: str) -> int:
    """The size of the files there; one that goes away meanwhile counts nothing."""
    total = 0
    for path in folder.glob(pattern):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
