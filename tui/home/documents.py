"""A run as one record of plain numbers: for the list at home, for `fitune runs`, and its JSON."""

from dataclasses import dataclass
from math import isfinite

from fitune.core.errors import UserError
from fitune.core.runs import LIVE, Run, RunState, Status
from fitune.core.runs.findings import findings
from fitune.core.score import name_of
from fitune.tui.text import count, gib
from fitune.tui.widgets.log_tail import last_note

MOST_NAME_COLUMNS = 60
"""Columns of a run's name in a list, at most."""


@dataclass(frozen=True, slots=True)
class RunDocument:
    """A run in the list of `fitune runs --json`. null is unknown."""

    name: str
    """The run's name, which its folder has too."""
    path: str
    """Its folder."""
    status: Status
    """starting, running, stopping, finished, stopped, failed or killed: of the training, or of the merge, export or
    push that works now."""
    problem: str | None
    """The reason that run.json or events.jsonl can't be read, as a sentence; else null."""
    phase: str
    """The newest phase of its events (docs/files.md); may be empty."""
    model: str | None
    """The base model: a Hub id or a folder."""
    step: int | None
    """The newest step."""
    total_steps: int | None
    """Optimizer steps of the whole training."""
    loss: float | None
    """Loss of the newest step, in nats a token; null also where it is NaN."""
    verdict: str | None
    """The verdict on its own held-out rows: better, no different, worse or can't tell."""
    elsewhere: dict[str, str]
    """The newest verdict on each file or data set that it was scored on beside them, by its name and number of rows."""
    created: float | None
    """UTC seconds."""
    silent_s: float | None
    """Seconds since the worker last showed a sign of life."""
    peak_bytes: int | None
    """The most memory that was measured: of the GPU, else of the RAM."""
    predicted_bytes: int | None
    """The same, as the budget said it before."""
    checkpoint: str | None
    """The name of the newest checkpoint's folder."""
    findings: tuple[str, ...]
    """What is wrong with a training that works now, by its numbers: a sentence or more each."""
    note: str | None
    """The newest of its notes, with the time and step at which it was written."""


def memory(described: RunDocument) -> str:
    """The measured peak, and how far it is from the predicted one: `7.6 GiB (+1.3 %)`; empty before it is measured."""
    peak, predicted = described.peak_bytes, described.predicted_bytes
    if not peak:
        return ""
    return f"{gib(peak)} ({100 * (peak / predicted - 1):+.1f} %)" if predicted else gib(peak)


def elsewhere_text(described: RunDocument) -> str:
    """The verdicts on other rows in words; empty without any."""
    return "; ".join(f"{word} on {name}" for name, word in described.elsewhere.items())


def describe(run: Run) -> RunDocument:
    """A run in plain numbers. Where its run.json or its events can't be read, the rest is known all the same."""
    created = model = None
    problems = []
    try:
        status, state = run.current()
    except UserError as error:
        status, state = "running" if run.holder_pid() else "killed", RunState()
        problems.append(str(error))
    try:
        created = run.info().created
        model = run.recipe().model.id
    except UserError as error:
        problems.append(str(error))
    step, memory, checkpoint = state.step, state.memory, run.newest_checkpoint()
    return RunDocument(
        name=run.name,
        path=str(run.path),
        status=status,
        problem=" ".join(problems) or None,
        phase=state.phase.name,
        model=model,
        step=step.step if step else None,
        total_steps=state.total_steps,
        loss=step.loss if step and step.loss is not None and isfinite(step.loss) else None,
        verdict=state.word,
        elsewhere={
            f"{name_of(source)}, {count(found.score.rows)} row{'' if found.score.rows == 1 else 's'}": found.word
            for source, found in state.elsewhere.items()
        },
        created=created,
        silent_s=run.silent_s(),
        peak_bytes=(memory.peak_host if memory.reserved is None else memory.peak_device) if memory else None,
        predicted_bytes=memory.predicted if memory else None,
        checkpoint=checkpoint.name if checkpoint else None,
        findings=tuple(found.text for found in findings(run.state())) if status in LIVE and run.trains() else (),
        note=last_note(run.path / "notes.txt") or None,
    )
