"""What the watch screen says, from one look at a run: no widgets here, so that each sentence can be tested alone."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from fitune.core.machine import GpuSample
from fitune.core.runs import LIVE, RunInfo, RunState, Sample, Status
from fitune.core.units import GIB
from fitune.tui.deliver.proof_view import proof_lines
from fitune.tui.text import UNKNOWN, clean, count, duration, exponent, gib, number, rate, safe
from fitune.tui.watch.ending import SILENT_AFTER_S, Ending, loss_text, phase_text
from fitune.tui.watch.progress import Part, listed
from fitune.tui.widgets.readouts import bar

BAR_COLUMNS = 18
LABEL_COLUMNS = 12
COLOURS = {"OK": "$success", "WARN": "$warning", "ERROR": "$error"}
WARNINGS_SHOWN = 3
PROMISE = "You may close this window: the run goes on. `fitune watch` shows it again."


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a run."""

    status: Status
    state: RunState
    total_steps: float | None = None
    eta_s: float | None = None
    silent_s: float | None = None
    bad_lines: int = 0
    checkpoint: str | None = None
    ending: Ending | None = None
    """How it ended; None while it lives."""
    parts: tuple[Part, ...] = ()
    """Of a merge, an export or a push."""
    log: tuple[str, ...] = ()
    info: RunInfo | None = None
    """run.json; None if that can't be read."""

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def job(self) -> str:
        return self.state.job


def title(name: str, info: RunInfo | None) -> Content:
    """The run, its model and its card."""
    model = info.model.id if info else ""
    card = (info.gpu.name if info and info.gpu else "") or "the CPU"
    said = f"   {clean(model, 60)} on {clean(card, 40)}" if model else ""
    return Content.styled("fitune", "bold $primary") + safe(f"  {name}", 60) + Content.styled(said, "dim")


def status(seen: Seen, now_s: float) -> Content:
    """Status word, what it is doing, how far, how long. While there is no sign of life, that instead."""
    state = seen.state
    if seen.ending is not None:
        job = "" if seen.job == "train" else clean(seen.job, 20) + " "
        word = Content.styled(f"{seen.ending.mark}  {job}{seen.status}", f"bold {COLOURS[seen.ending.mark]}")
        return word + Content(_progress(seen))
    if seen.silent_s is not None and seen.silent_s > SILENT_AFTER_S:
        word = Content.styled("WARN  no sign of life", f"bold {COLOURS['WARN']}")
        return word + Content(f" for {duration(seen.silent_s)}: the worker is stopped, or the machine overloaded")
    job = "" if seen.job == "train" else f"{clean(seen.job, 20)}: "
    if seen.status == "starting":
        return Content.styled(f"{job}starting", "bold $success")
    stopping = "stopping, with a checkpoint" if seen.job == "train" else "stopping"
    doing = stopping if seen.status == "stopping" else phase_text(state.phase.name)
    began_s = state.started_t or state.first_t
    elapsed = f"   {duration(now_s - began_s)}" if began_s else ""
    left = f", {duration(seen.eta_s)} left" if seen.eta_s is not None else ""
    return Content.styled(f"{job}{doing}", "bold $success") + Content(_progress(seen) + elapsed + left)


def progress_bar(seen: Seen, columns: int, plain: bool) -> Content:
    """How much of the training, or of the part of another job, is done, over the whole width; else nothing."""
    share = seen.parts[-1].share if seen.parts and seen.live else None
    if seen.job == "train":
        step, total = seen.state.step, seen.total_steps
        share = step.step / total if step and total else None
    if share is None or columns < BAR_COLUMNS:
        return Content()
    return Content.styled(bar(share, columns - 6, plain), "$primary") + Content(f" {100 * share:3.0f} %")


def numbers(seen: Seen, now_s: float) -> Content:
    """The newest step's numbers; of another job those of the part that goes on."""
    if seen.job != "train":
        return Content(seen.parts[-1].numbers(now_s) if seen.parts and seen.live else "")
    step = seen.state.step
    if step is None:
        return Content()
    held_out = seen.state.eval_loss.points
    return _pairs(
        ("loss", loss_text(step.loss)),
        ("held-out", number(held_out[-1][1]) if held_out else ""),
        ("lr", exponent(step.lr)),
        ("grad norm", number(step.grad_norm, 2)),
        ("", rate(step.tokens_per_s) if seen.live else ""),
        ("tokens", "" if seen.live else count(step.seen_tokens)),
    )


def memory(seen: Seen, plain: bool) -> Content:
    """The measured peak beside the predicted one, in different words."""
    memory = seen.state.memory
    if memory is None or seen.job != "train":  # another job has none of its own
        return Content()
    on_card = memory.peak_device or memory.peak_reserved
    measured, predicted = on_card or memory.peak_host, memory.predicted
    label = _label("memory" if on_card else "host RAM")
    if measured and predicted:
        off = f"   {100 * (measured / predicted - 1):+.1f} %"
        drawn = bar(measured / predicted, BAR_COLUMNS, plain) + "  "
        return label + Content(f"{drawn}measured {gib(measured)}, predicted {gib(predicted)}{off}")
    if measured:
        return label + Content(f"measured {gib(measured)}, nothing was predicted")
    return Content()


def card(sample: GpuSample | None) -> Content:
    """What the card does right now, all its users together."""
    if sample is None or sample.used_bytes is None:
        return Content()
    parts = [
        f"{sample.used_bytes / GIB:.1f} of {gib(sample.total_bytes)} in use",
        f"{_or_unknown(sample.utilisation_percent)} % busy",
        f"{_or_unknown(sample.temperature_c)} °C",
        f"{_or_unknown(sample.power_w)} W",
    ]
    return _label("card") + Content("   ".join(parts))


def tale(seen: Seen, columns: int, now_s: float) -> Content:
    """The end with what to do now, proofs, warnings, and a training's newest question or another job's parts."""
    lines = []
    if seen.ending is not None:
        lines += [safe(said) for said in (seen.ending.sentence, seen.ending.next) if said]
        lines += [line for proof in seen.ending.proofs for line in proof_lines(proof, columns)]
    if seen.bad_lines:
        lines.append(_warning(f"{seen.bad_lines} unreadable lines of events.jsonl were skipped"))
    warnings = seen.state.warnings.get(seen.job, [])
    lines += [_warning(warning.message) for warning in warnings[-WARNINGS_SHOWN:]]
    if len(warnings) > WARNINGS_SHOWN:
        lines.append(_warning(f"and {len(warnings) - WARNINGS_SHOWN} more before these"))
    if seen.live and not seen.state.step:
        lines.append(_muted(PROMISE))
    lines += _sample(seen.state.samples, columns) if seen.job == "train" else _parts(seen, now_s)
    return Content("\n").join(lines)


def _parts(seen: Seen, now_s: float) -> list[Content]:
    """What the job has done, with the time that each part took; nothing once it is over and told."""
    if not seen.live:
        return []
    lines = listed(seen.parts, now_s)
    return [
        Content.styled(f"{mark:<6}", "bold $success" if mark == "OK" else "bold") + Content(text)
        for mark, text in lines
    ]


def _sample(samples: Sequence[Sample], columns: int) -> list[Content]:
    """The first question of the newest look, with its answers."""
    if not samples:
        return []
    newest = next(sample for sample in samples if sample.step == samples[-1].step)
    when = f"at step {count(newest.step)}" if newest.step else "before the training"
    texts = [
        ("asked", newest.prompt),
        ("before", newest.before),
        ("after", newest.after),
        ("in the data", newest.reference),
    ]
    answers = [_answer(name, text, columns) for name, text in texts if text is not None]
    return [Content(), Content.styled(f"A question from the data, {when}", "bold"), *answers]


def _answer(name: str, text: str, columns: int) -> Content:
    said = clean(" ".join(text.split()), 600) or "(nothing: it ended at once)"
    wrapped = textwrap.wrap(said, max(20, columns - LABEL_COLUMNS))
    return _label(name) + Content(f"\n{' ' * LABEL_COLUMNS}".join(wrapped))


def _warning(message: str) -> Content:
    return Content.styled("WARN ", f"bold {COLOURS['WARN']}") + safe(message, 300)


def _progress(seen: Seen) -> str:
    step = seen.state.step
    if step is None or seen.job != "train":
        return ""
    said = f"   step {count(step.step)} of {count(seen.total_steps)}"
    return said + (f"   epoch {step.epoch:.2f}" if step.epoch is not None else "")


def _pairs(*pairs: tuple[str, str]) -> Content:
    said = [_muted(f"{name} " if name else "") + Content(text) for name, text in pairs if text]
    return Content("   ").join(said)


def _label(name: str) -> Content:
    return _muted(f"{name:<{LABEL_COLUMNS}}")


def _muted(text: str) -> Content:
    return Content.styled(text, "dim")


def _or_unknown(measured: float | None) -> str:
    return UNKNOWN if measured is None else f"{measured:.0f}"
