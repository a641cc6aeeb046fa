"""The events of a run as plain lines of text, for `fitune watch` and other output without a screen.

Texts of a run folder are foreign, so they pass through tui.text.clean here.
"""

import math

from fitune.core.runs import (
    Checkpoint,
    Eval,
    Event,
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
from fitune.tui.text import UNKNOWN, clean, count, exponent, gib, number, rate, size, steps
from fitune.tui.watch.phases import COMPILES, phase_text
from fitune.tui.watch.progress import RunProgress

GAP = "  "
"""What stands between the numbers of a step."""
NOTHING = "(nothing: it ended at once)"


def event_line(event: Event, progress: RunProgress) -> str:
    """One event as one plain line; empty for events that are not shown."""
    match event.data:
        case Started() as started:
            return _started(event.job, started)
        case Phase() as phase:
            return _phase(phase)
        case Step() as step:
            return step_line(step, progress)
        case Eval(step=number_, loss=loss) as look:
            return "  ".join([f"step {count(number_)}", f"held-out loss {loss_text(loss)}", *reward_texts(look)])
        case RacedLap(lr=lr, steps=raced, loss=loss):
            return f"rate {exponent(lr)}, {steps(raced)}: held-out loss {loss_text(loss)}"
        case Checkpoint(step=number_):
            return f"step {count(number_)}  checkpoint written"
        case Warned(message=message):
            return f"WARN  {clean(message, 500)}"
        case Recovered(message=message):
            return f"OK    recovered: {clean(message, 500)}"
        case Sample() as sample:
            return _sample(sample)
        case Score(word=word) | Preferred(word=word):  # the end says it in full
            return f"{'compared' if isinstance(event.data, Preferred) else 'scored'}: {clean(word, 40)}"
    return ""


def step_line(step: Step, progress: RunProgress) -> str:
    """The numbers of a step, and the time left once it is known."""
    parts = [
        f"step {count(step.step)}/{count(progress.total_steps)}",
        f"loss {loss_text(step.loss)}",
        *reward_texts(step),
        f"lr {exponent(step.lr)}",
        f"grad {number(step.grad_norm, 2)}",
        rate(step.tokens_per_s),
        *([left] if (left := progress.left()) else []),
    ]
    return GAP.join(parts)


def reward_texts(told: Step | Eval) -> list[str]:
    """How far better and worse answers are told apart; nothing where answers are not compared."""
    margin, pairs = told.margin, told.pair_accuracy
    margins = [] if margin is None else [f"margin {number(margin, 2)}"]
    return [*margins, *([] if pairs is None else [f"pairs {pairs:.0%}"])]


def loss_text(loss: float | None) -> str:
    """A loss as it is shown."""
    return "NaN" if loss is not None and math.isnan(loss) else number(loss)


def memory_text(memory: Memory) -> str:
    """The measured peak beside the predicted one; on a CPU the host's."""
    on_gpu = memory.peak_device or memory.peak_reserved
    kind = "GPU memory" if on_gpu else "host memory"
    kind = kind if memory.card is None else f"{'card' if on_gpu else 'process'} {memory.card + 1}: {kind}"
    measured = f"{kind} peak {gib(on_gpu or memory.peak_host)}"
    return f"{measured}, predicted {gib(memory.predicted)}" if memory.predicted else measured


def cut_mark(sample: Sample) -> str:
    """What is put behind an answer that did not end by itself; empty if it did, or if that is not known."""
    if sample.stops or sample.tokens is None:
        return ""
    why = "at" if sample.stops is False else "by its time, at"
    return f" ... (cut {why} {count(sample.tokens)} token{'' if sample.tokens == 1 else 's'})"


def sample_texts(sample: Sample, before: Sample) -> list[tuple[str, str]]:
    """(name, text) of a question, its answers and the one in the data; answers that were cut have a mark.

    before: the same question before the training; the sample itself where that is not known.
    """
    first, newest = (cut_mark(before) if not before.step else ""), (cut_mark(sample) if sample.step else "")
    answers = (("before", sample.before, first), ("after", sample.after, newest))
    found = [(name, (text.strip() or NOTHING) + mark) for name, text, mark in answers if text is not None]
    reference = [("in the data", sample.reference)] if sample.reference is not None else []
    return [("asked", sample.prompt), *found, *reference]


def _started(job: str, started: Started) -> str:
    resumed = f", going on from step {count(started.resumed_from)}" if started.resumed_from is not None else ""
    preposition = "to" if job == "push" else "on"
    attention = f", attention {started.attention}" if started.attention else ""
    text = f"{job} {preposition} {started.device or UNKNOWN} with {started.backend or UNKNOWN}{attention}"
    return clean(text) + resumed


def _phase(phase: Phase) -> str:
    if phase.file is not None:
        return clean(f"uploading {phase.file}: {size(phase.done_bytes)} of {size(phase.bytes)} before it")
    if phase.to_score is not None and phase.name == "score":
        return f"scoring: {count(phase.scored)} of {count(phase.to_score)} rows"
    if phase.to_score is not None and phase.name == "pairs":
        return f"comparing: {count(phase.scored)} of {count(phase.to_score)} pairs"
    if phase.to_score is not None and phase.name == "probe":
        return f"asking both: {count(phase.scored)} of {count(phase.to_score)} general questions"
    if phase.done_bytes:  # progress of the same phase: a merge reports it twice a second
        return ""
    details = [
        *([steps(phase.total_steps)] if phase.total_steps else []),
        *([f"{count(phase.rows)} rows"] if phase.rows and phase.name == "replay" else []),
        *([f"first {COMPILES}"] if phase.compiles else []),
        *([clean(phase.kind, 40)] if phase.kind is not None else []),
        *([f"{count(phase.files)} files"] if phase.files else []),
        *([size(phase.bytes)] if phase.bytes else []),
        *([clean(f"to {phase.repo}")] if phase.repo is not None else []),
        *([clean(f"branch {phase.branch}")] if phase.branch is not None else []),
    ]
    return phase_text(phase.name) + (f": {', '.join(details)}" if details else "")


def _sample(sample: Sample) -> str:
    def shown(text: str) -> str:
        return clean(text, 600, keep_newlines=True).replace("\n", "\n          ")

    texts = (pair for pair in sample_texts(sample, sample) if pair[0] != "in the data")
    return "\n".join(f"{name:<10}{shown(text)}" for name, text in texts)
