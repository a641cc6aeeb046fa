"""The texts of the watch screen, from a snapshot of a run. No widgets here, so that each text can be tested alone."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from textual.content import Content

from fitune.core.machine import GpuSample
from fitune.core.runs import LIVE, Memory, Recovered, RunInfo, RunState, Sample, Status, model_name
from fitune.core.runs.findings import Finding
from fitune.core.units import GIB
from fitune.tui.deliver.proof_view import proof_lines
from fitune.tui.text import UNKNOWN, clean, count, duration, exponent, gib, number, rate, safe
from fitune.tui.watch.ending import Ending, Mark
from fitune.tui.watch.event_text import loss_text, sample_texts
from fitune.tui.watch.phases import JobPhase, phase_lines, phase_text
from fitune.tui.watch.progress import SILENT_AFTER_S
from fitune.tui.widgets.readouts import OVER, bar

BAR_COLUMNS = 14
LABEL_COLUMNS = 12
COLOURS = {"OK": "$success", "WARN": "$warning", "ERROR": "$error"}
WARNINGS_SHOWN = 3
PROMISE = "You may close this window: the run goes on. `fitune watch` shows it again."


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment, for the thread that draws."""

    status: Status
    state: RunState
    total_steps: int | None = None
    left: str = ""
    """The time left in words; empty while it is not known."""
    silent_s: float | None = None
    bad_lines: int = 0
    checkpoint: str | None = None
    ending: Ending | None = None
    """The end in words; None while it lives."""
    phases: tuple[JobPhase, ...] = ()
    """The phases of the newest job."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with the training, by its numbers."""
    note: str = ""
    """The newest note, with its time and step."""
    log: tuple[str, ...] = ()
    info: RunInfo | None = None
    """run.json; None if that can't be read."""
    changes: Mapping[str, object] = field(default_factory=dict)
    """What a resume has changed of the recipe."""

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def job(self) -> str:
        return self.state.job

    @property
    def has_chart(self) -> bool:
        """True if there is a loss to draw; before the first step the phases take its place."""
        return self.job == "train" and self.state.step is not None

    @property
    def decides_keys(self) -> tuple[object, ...]:
        """What it depends on which keys do something."""
        return self.status, self.checkpoint, self.has_chart, self.state.is_past_training

    @property
    def lists_phases(self) -> bool:
        """True while the phases are shown: until a training's first step, and as long as another job lives."""
        return self.live and not self.has_chart


def title(name: str, info: RunInfo | None) -> Content:
    """The names of the run, its model (without its owner, for want of room) and its card."""
    model = model_name(info.model.id) if info else ""
    card = (info.gpu.name if info and info.gpu else "") or "the CPU"
    model_on_card = f"   {clean(model, 60)} on {clean(card, 40)}" if model else ""
    return Content.styled("fitune", "bold $primary") + safe(f"  {name}", 60) + Content.styled(model_on_card, "dim")


def status(snapshot: Snapshot, now_s: float) -> Content:
    """Status word, phase, step, time and time left; or a warning while there is no sign of life. After the last step it
    is told no more: what follows has words enough to fill a narrow line."""
    state = snapshot.state
    if snapshot.ending is not None:
        job = "" if snapshot.job == "train" else clean(snapshot.job, 20) + " "
        word = Content.styled(
            f"{snapshot.ending.mark}  {job}{snapshot.status}", f"bold {COLOURS[snapshot.ending.mark]}"
        )
        return word + Content(_progress(snapshot))
    if snapshot.silent_s is not None and snapshot.silent_s > SILENT_AFTER_S:
        word = Content.styled("WARN  no sign of life", f"bold {COLOURS['WARN']}")
        return word + Content(f" for {duration(snapshot.silent_s)}: the worker is stopped, or the machine overloaded")
    job = "" if snapshot.job == "train" else f"{clean(snapshot.job, 20)}: "
    if snapshot.status == "starting":
        elapsed = f"   {duration(max(0.0, now_s - snapshot.phases[0].began_s))}" if snapshot.phases else ""
        return Content.styled(f"{job}starting", "bold $success") + Content(elapsed)
    stopping = "stopping, with a checkpoint" if snapshot.job == "train" else "stopping"
    doing = stopping if snapshot.status == "stopping" else phase_text(state.phase.name)
    began_s = state.started_t or state.first_t
    elapsed = f"   {duration(now_s - began_s)}" if began_s else ""
    left = f", {snapshot.left}" if snapshot.left else ""
    steps_are_done = bool(state.step and snapshot.total_steps and state.step.step >= snapshot.total_steps)
    progress = "" if steps_are_done and state.phase.name != "train" else _progress(snapshot)
    return Content.styled(f"{job}{doing}", "bold $success") + Content(progress + elapsed + left)


def too_small(name: str, snapshot: Snapshot, now_s: float) -> Content:
    """The status alone, for a terminal in which nothing else has room."""
    leave = "d" if snapshot.live else "q"
    return (
        safe(f"{name}: ", 60) + status(snapshot, now_s) + Content(f"\nterminal too small (need 80x24), {leave} leaves")
    )


def progress_bar(snapshot: Snapshot, columns: int, plain: bool) -> Content:
    """The share of the training, or of another job's phase, that is done, over the whole width; empty if not known."""
    share = snapshot.phases[-1].share if snapshot.phases and snapshot.live else None
    if snapshot.job == "train" and snapshot.total_steps:
        share = (snapshot.state.step.step if snapshot.state.step else 0) / snapshot.total_steps
    if share is None or columns < BAR_COLUMNS:
        return Content()
    return bar(share, columns - 6, plain) + Content(f" {100 * share:3.0f} %")


def numbers(snapshot: Snapshot, now_s: float, columns: int) -> Content:
    """The numbers of the newest step, as many as have room; of another job those of its newest phase."""
    if snapshot.job != "train":
        return Content(snapshot.phases[-1].numbers(now_s) if snapshot.phases and snapshot.live else "")
    step = snapshot.state.step
    if step is None:
        return Content()
    state = snapshot.state
    held_out, margins, pairs = state.eval_loss.points, state.eval_margin.points, state.pair_accuracy.points
    return _pairs(
        columns,
        ("loss", loss_text(step.loss)),
        ("held-out", number(held_out[-1][1]) if held_out else ""),
        ("margin", number(margins[-1][1], 2) if margins else ""),
        ("pairs", f"{pairs[-1][1]:.0%}" if pairs else ""),
        ("lr", "" if margins else exponent(step.lr)),
        ("grad norm", "" if margins else number(step.grad_norm, 2)),
        ("", rate(step.tokens_per_s) if snapshot.live else ""),
        ("tokens", "" if snapshot.live or margins else count(step.seen_tokens)),
        ("lr", exponent(step.lr) if margins else ""),  # behind what has room in 80 columns
    )


def memory(snapshot: Snapshot, plain: bool) -> Content:
    """The measured peak of the memory beside the predicted one; a line for each of several cards."""
    state = snapshot.state
    if state.memory is None or snapshot.job != "train":  # another job measures none
        return Content()
    others = (state.memory_beside[card] for card in sorted(state.memory_beside))
    return Content("\n").join(_memory_of(each, plain) for each in (state.memory, *others))


def _memory_of(memory: Memory, plain: bool) -> Content:
    on_card = memory.peak_device or memory.peak_reserved
    measured, predicted = on_card or memory.peak_host, memory.predicted
    name = "memory" if on_card else "host RAM"
    label = _label(name if memory.card is None else f"{'card' if on_card else 'process'} {memory.card + 1}")
    if measured and predicted:
        share = measured / predicted
        difference = Content.styled(f"   {100 * (share - 1):+.1f} %", COLOURS["WARN"] if share > OVER else "")
        said = Content(f"  measured {gib(measured)}, predicted {gib(predicted)}") + difference
        return label + bar(share, BAR_COLUMNS, plain) + said + Content(" WARN" if share > OVER else "")
    if measured:
        return label + Content(f"measured {gib(measured)}, nothing was predicted")
    return Content()


def cards(samples: Sequence[GpuSample]) -> Content:
    """The memory, load, temperature and power of each card right now, of all its users together; a line for each."""
    known = [(place, sample) for place, sample in enumerate(samples, 1) if sample.used_bytes is not None]
    return Content("\n").join(_card(f"card {place}" if len(samples) > 1 else "card", sample) for place, sample in known)


def _card(name: str, sample: GpuSample) -> Content:
    parts = [
        f"{(sample.used_bytes or 0) / GIB:.1f} of {gib(sample.total_bytes)} in use",
        f"{_or_unknown(sample.utilisation_percent)} % busy",
        f"{_or_unknown(sample.temperature_c)} °C",
        f"{_or_unknown(sample.power_w)} W",
    ]
    return _label(name) + Content("   ".join(parts))


def details(snapshot: Snapshot, columns: int, now_s: float) -> Content:
    """The end with a next action, proofs and warnings; a training's newest question or another job's phases."""
    lines = []
    if snapshot.ending is not None:
        lines += [safe(text) for text in (snapshot.ending.sentence, snapshot.ending.next) if text]
        lines += [line for proof in snapshot.ending.proofs for line in proof_lines(proof, columns)]
    lines += [_muted("Note  ") + safe(snapshot.note, 300)] if snapshot.note else []
    if snapshot.bad_lines:
        lines.append(_warning(f"{snapshot.bad_lines} unreadable lines of events.jsonl were skipped"))
    lines += [_warning(found.text) for found in snapshot.findings] if snapshot.job == "train" else []
    warnings = snapshot.state.warnings.get(snapshot.job, [])
    lines += [
        _warning(each.message, "OK" if isinstance(each, Recovered) else "WARN") for each in warnings[-WARNINGS_SHOWN:]
    ]
    if len(warnings) > WARNINGS_SHOWN:
        lines.append(_warning(f"and {len(warnings) - WARNINGS_SHOWN} more before these"))
    if snapshot.live and not snapshot.state.step:
        lines.append(_muted(PROMISE))
    lines += _phases(snapshot, now_s) if snapshot.lists_phases else []
    lines += _sample(snapshot.state.samples, columns) if snapshot.job == "train" else []
    return Content("\n").join(lines)


PHASE_STYLES = {"OK": "bold $success", "now": "bold", "then": "dim"}


def _phases(snapshot: Snapshot, now_s: float) -> list[Content]:
    """The phases of a live job: those done and the one at work with their times, and those to come."""
    lines = phase_lines(snapshot.job, snapshot.phases, now_s)
    return [
        Content.styled(f"{word:<6}", PHASE_STYLES[word]) + Content.styled(text, "dim" if word == "then" else "")
        for word, text in lines
    ]


def _sample(samples: Sequence[Sample], columns: int) -> list[Content]:
    """The first question of the newest samples, with its answers."""
    if not samples:
        return []
    newest = next(sample for sample in samples if sample.step == samples[-1].step)
    when = f"at step {count(newest.step)}" if newest.step else "before the training"
    before = next((sample for sample in samples if not sample.step and sample.prompt == newest.prompt), newest)
    answers = [_answer(name, text, columns) for name, text in sample_texts(newest, before)]
    return [Content(), Content.styled(f"A question from the data, {when}", "bold"), *answers]


def _answer(name: str, text: str, columns: int) -> Content:
    cleaned = clean(" ".join(text.split()), 600)
    wrapped = textwrap.wrap(cleaned, max(20, columns - LABEL_COLUMNS))
    return _label(name) + Content(f"\n{' ' * LABEL_COLUMNS}".join(wrapped))


def _warning(message: str, mark: Mark = "WARN") -> Content:
    return Content.styled(f"{mark:<5}", f"bold {COLOURS[mark]}") + safe(message, 400)


def _progress(snapshot: Snapshot) -> str:
    step = snapshot.state.step
    if step is None or snapshot.job != "train":
        return ""
    text = f"   step {count(step.step)} of {count(snapshot.total_steps)}"
    return text + (f"   epoch {step.epoch:.2f}" if step.epoch is not None else "")


def _pairs(columns: int, *pairs: tuple[str, str]) -> Content:
    texts = [_muted(f"{name} " if name else "") + Content(text) for name, text in pairs if text]
    while len(texts) > 1 and Content("   ").join(texts).cell_length > columns:
        texts.pop()
    return Content("   ").join(texts)


def _label(name: str) -> Content:
    return _muted(f"{name:<{LABEL_COLUMNS}}")


def _muted(text: str) -> Content:
    return Content.styled(text, "dim")


def _or_unknown(measured: float | None) -> str:
    return UNKNOWN if measured is None else f"{measured:.0f}"
