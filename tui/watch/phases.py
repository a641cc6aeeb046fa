"""The phases of a job, as a list that grows: what is done with the time it took, what is done now, and what comes.

The start of a training takes half a minute or more before its first step: this list says at each moment what it does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fitune.tui.text import clean, count, duration, size
from fitune.tui.widgets.log_tail import log_tail

PHASES = {
    "import": "starting Python and its libraries",
    "download": "fetching the model",
    "load": "loading the model",
    "data": "reading the data",
    "replay": "mixing in general rows",
    "prepare": "preparing",
    "train": "training",
    "save": "saving the adapter",
    "score": "scoring it beside the base model",
    "pairs": "comparing better and worse answers",
    "probe": "asking both models general questions",
    "race": "a training of the race",
    "sample": "asking it questions from the data",
    "merge": "merging the adapter into the model",
    "write": "writing the merged model",
    "verify": "checking what was written",
    "prove": "comparing what was written with the trained model",
    "convert": "writing a GGUF file",
    "ask": "asking the Hub",
    "upload": "uploading",
}
COMPILES = "compiling for this model: some minutes the first time"
"""What the phase "train" does before its first step, where the model's code is compiled."""
LOOKS = "first a look at the held-out rows"
"""What it does before its first step otherwise, unless it goes on from a checkpoint."""
ORDER = {
    "train": ("import", "load", "data", "prepare", "sample", "train"),
    "score": ("import", "data", "load", "score"),
    "tune-lr": ("import", "load", "data", "race"),
    "merge": ("import", "write", "prove"),
    "export": ("import", "convert", "prove"),
    "push": ("import", "ask", "upload", "verify"),
}
"""The phases that every run of a job passes, in order: those after the newest one are shown as still to come."""


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


def phase_text(name: str) -> str:
    """A phase in words; one that this version does not know by its own name."""
    return PHASES.get(name, clean(name, 40))


def phase_lines(job: str, phases: Sequence[JobPhase], now_s: float) -> list[tuple[str, str]]:
    """(word, line) of each phase of a live job: OK and now with the time that it took so far, then those to come."""
    ends = [phase.began_s for phase in phases[1:]] + [now_s]
    words = ["OK"] * (len(phases) - 1) + ["now"]
    later = [phase_text(name) for name in to_come(job, phases)]
    columns = max(map(len, [*(phase.text for phase in phases), *later]), default=0) + 3
    begun = [
        (word, f"{phase.text:<{columns}}{duration(max(0.0, end - phase.began_s))}")
        for word, phase, end in zip(words, phases, ends, strict=False)
    ]
    return begun + [("then", text) for text in later]


def to_come(job: str, phases: Sequence[JobPhase]) -> tuple[str, ...]:
    """The names of the usual phases of a job after the newest of these."""
    order = ORDER.get(job, ())
    passed = [order.index(phase.name) for phase in phases if phase.name in order]
    return order[max(passed, default=-1) + 1 :]


def with_loaded_share(phase: JobPhase, log: Path) -> JobPhase:
    """The phase "load" with the number of tensors that are loaded: transformers says it in the worker's log only."""
    if phase.name != "load":
        return phase
    for line in reversed(log_tail(log)):
        if found := re.search(r"Loading \w+: .*?(\d+)/(\d+)", line):
            return replace(phase, detail=f"{count(int(found[1]))} of {count(int(found[2]))}")
    return phase
