"""A run as far as it was read, and its end in plain words: the same on the watch screen and in `fitune watch`.

What comes from a run folder is foreign text, so it passes through tui.text.clean.clean here.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fitune.core.runs import Event, Failed, Finished, Run, RunState, Started, Status, Step
from fitune.core.runs.post_mortem import cause
from fitune.tui.deliver.proof_text import ArtifactProof, proofs
from fitune.tui.text import clean, clock, count, duration, number, size
from fitune.tui.watch.repeat_command import command

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
FAILURES = {
    "oom": "out of memory",
    "data": "the data or the recipe",
    "download": "the download",
    "auth": "access refused",
    "disk": "disk full",
    "nan": "the loss is not a number",
    "driver": "the GPU driver",
    "bug": "a fault in the software",
    "killed": "killed",
}
ETA_AFTER_STEPS = 20
"""The first steps compile kernels and are slow: a time left that is told from them would be wrong."""
SILENT_AFTER_S = 15.0
"""A worker gives a sign of life each 5 s; three missed are worth a word."""
CLOCKS_S = 1.0
"""How far the time of a file may be before that of an event written earlier: they are rounded differently."""
Mark = Literal["OK", "WARN", "ERROR"]


@dataclass(slots=True)
class TimeLeft:
    """Seconds until the last step, by the mean pace of this session without its first, slow steps."""

    first_step: int | None = None
    anchor: tuple[int, float] | None = None
    newest: tuple[int, float] = (0, 0.0)

    def apply(self, event: Event) -> None:
        """Take an event into account; a `started` begins a new session."""
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
        """None until ETA_AFTER_STEPS steps of this session are done."""
        step, t = self.newest
        if not total_steps or self.first_step is None or self.anchor is None:
            return None
        if step - self.first_step + 1 < ETA_AFTER_STEPS or step <= self.anchor[0]:
            return None
        return max(0, total_steps - step) * (t - self.anchor[1]) / (step - self.anchor[0])


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run that is no longer alive came to its end."""

    mark: Mark
    sentence: str
    next: str
    """What to do now; may be empty."""
    proofs: tuple[ArtifactProof, ...] = ()
    """Of what the job made."""


@dataclass(slots=True)
class Story:
    """A run as far as it was read: the state its events fold into, and the time left."""

    state: RunState = field(default_factory=RunState)
    time_left: TimeLeft = field(default_factory=TimeLeft)

    def apply(self, event: Event) -> None:
        self.state.apply(event)
        self.time_left.apply(event)

    @property
    def total_steps(self) -> int | None:
        return self.state.total_steps

    def eta_s(self) -> float | None:
        """Seconds left; None while that is not known."""
        return self.time_left.seconds(self.total_steps)


def loss_text(loss: float | None) -> str:
    """A loss as shown."""
    return "NaN" if loss is not None and math.isnan(loss) else number(loss)


def phase_text(name: str) -> str:
    """A phase in words; one this version doesn't know by its own name."""
    return PHASES.get(name, clean(name, 40))


def ending(run: Run, status: Status, state: RunState) -> Ending:
    """The end of a dead run in words, for each way a run can end."""
    end = state.end
    if status == "killed" and (untold := run.untold(state)):
        then = _resume(run) if untold == "train" else _again(run, untold)
        return Ending("ERROR", f"The {clean(untold, 40)} was killed before it said a word. {_cause(run)}", then)
    if state.job != "train":
        return _ending_of_delivery(run, status, state)
    resume = _resume(run)
    if status == "killed" or end is None:
        return Ending("ERROR", _killed(run, state), resume)
    if isinstance(end, Failed):
        kind = FAILURES.get(end.kind, clean(end.kind, 40))
        return Ending("ERROR", f"Failed ({kind}): {clean(end.message, 500)}", clean(end.hint, 500))
    if end.stopped:
        return Ending("OK", f"Stopped as asked at step {count(end.steps)} of {count(end.total_steps)}.", resume)
    return Ending("OK", _finished(end), f"Its adapter: {clean(str(run.adapter))}" if run.adapter.exists() else "")


def restarted_s() -> float | None:
    """UTC seconds at which process 1 started: the boot of this machine, or the start of this container."""
    import os

    try:
        boot_s = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
        ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])  # field 22 of proc(5)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return boot_s + ticks / os.sysconf("SC_CLK_TCK")


def _finished(end: Finished) -> str:
    said = f"Finished: {count(end.steps)} steps in {duration(end.elapsed_s)}"
    if end.first_loss is not None and end.last_loss is not None:
        said += f", loss {number(end.first_loss, 2)} to {number(end.last_loss, 2)}"
    if end.eval_loss is not None:
        said += f", held-out {number(end.eval_loss, 2)}"
    return f"{said}."


def _ending_of_delivery(run: Run, status: Status, state: RunState) -> Ending:
    """The end of a merge, export or push, which leaves the training as it was."""
    job, end = clean(state.job, 40), state.end
    again = _again(run, state.job)
    made = tuple(each for each in proofs(run) if state.started_t and each.made_s >= state.started_t - CLOCKS_S)
    made = made if job in ("merge", "export") else ()
    if status == "killed" or end is None:
        where = f" while {phase_text(state.phase.name)}" if state.phase.name else ""
        return Ending("ERROR", f"The {job} was killed{where}. {_cause(run)}", again)
    if isinstance(end, Failed):
        return Ending("ERROR", f"The {job} failed: {clean(end.message, 500)}", clean(end.hint, 500), made)
    if end.stopped:
        left = f"{branches} stay" if (branches := _branches(end)) else "nothing was changed"
        return Ending("OK", f"The {job} was stopped as asked; {left}.", again)
    return Ending("OK", *_delivered(run, job, end), made)


def _again(run: Run, job: str) -> str:
    return f"The adapter is as it was. Again: {clean(command(run, job), 400)}"


def _delivered(run: Run, job: str, end: Finished) -> tuple[str, str]:
    took = f"{size(end.bytes)} in {duration(end.elapsed_s)}"
    files = end.files or 0
    if job == "merge":
        return f"Merged: one model of {took}, checked.", f"It is in {clean(str(run.merged))}"
    if job == "export":
        left = [clean(command) for command in end.next or ()]
        said = f"Exported: {count(files)} GGUF file{'' if files == 1 else 's'} of {took}, checked."
        return said, f"In {clean(str(run.path / 'gguf'))}" + "".join(f"; then: {each}" for each in left)
    if job == "push":
        seen_by = "private" if end.private else "PUBLIC"
        on = f", {branches}" if (branches := _branches(end)) else ""
        to = f"{clean(end.repo or '', 120)}{on} ({seen_by})"
        new = end.new_files
        there = f" {count(files - new)} of them were there already." if new is not None and new < files else ""
        return f"Pushed: {count(files)} files, {took}, to {to}.{there}", clean(end.url or "", 300)
    return f"Finished: {job}.", ""


def _branches(end: Finished) -> str:
    """Those that a push of checkpoints has filled; empty if it was of something else."""
    names = [clean(name, 40) for name in end.branches or ()]
    return f"branch{'' if len(names) == 1 else 'es'} {', '.join(names)}" if names else ""


def _killed(run: Run, state: RunState) -> str:
    if state.last_t is None:
        return f"The worker never said anything: it was killed before its first event. {_cause(run)}"
    seen_s = run.lock.stat().st_mtime if run.lock.exists() else state.last_t
    step = state.step.step if state.step else None
    where = f"at step {count(step)}" if step else f"while {phase_text(state.phase.name) or 'starting'}"
    again_s = restarted_s()
    if again_s is not None and again_s > seen_s and cause(run) is None:
        return f"Ended {where} without a last event: the machine was restarted at {clock(again_s)}."
    return f"Killed {where}, last seen {clock(seen_s)}: it left no last event. {_cause(run)}"


def _cause(run: Run) -> str:
    """What killed the worker, or what mostly does."""
    return clean(cause(run) or "Most often that is the kernel's OOM killer (the RAM ran out), or kill -9.", 400)


def _resume(run: Run) -> str:
    checkpoint = run.newest_checkpoint()
    name = clean(run.name)
    if checkpoint is None:
        return f"There is no checkpoint; start over with: fitune resume {name}"
    return f"Go on from step {count(int(checkpoint.name.partition('-')[2]))}: fitune resume {name}"
