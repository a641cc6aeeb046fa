"""A run's events as plain lines, for `fitune watch` and wherever no screen is.

What comes from a run folder is foreign text, so it passes through tui.text.clean.clean here.
"""

from fitune.core.runs import Checkpoint, Eval, Event, Memory, Phase, Recovered, Sample, Started, Step, Warned
from fitune.tui.text import UNKNOWN, clean, count, duration, exponent, gib, number, rate, size
from fitune.tui.watch.ending import Story, loss_text, phase_text


def line(event: Event, story: Story) -> str:
    """One event as one plain line; empty for those that need none."""
    match event.data:
        case Started() as started:
            return _started(event.job, started)
        case Phase() as phase:
            return _phase(phase)
        case Step() as step:
            return step_line(step, story)
        case Eval(step=number_, loss=loss):
            return f"step {count(number_)}  held-out loss {loss_text(loss)}"
        case Checkpoint(step=number_):
            return f"step {count(number_)}  checkpoint written"
        case Warned(message=message):
            return f"WARN  {clean(message, 500)}"
        case Recovered(message=message):
            return f"OK    recovered: {clean(message, 500)}"
        case Sample() as sample:
            return _sample(sample)
    return ""


def step_line(step: Step, story: Story) -> str:
    """The numbers of a step, and the time left once it is known."""
    eta_s = story.eta_s()
    parts = [
        f"step {count(step.step)}/{count(story.total_steps)}",
        f"loss {loss_text(step.loss)}",
        f"lr {exponent(step.lr)}",
        f"grad {number(step.grad_norm, 2)}",
        rate(step.tokens_per_s),
        *([f"{duration(eta_s)} left"] if eta_s is not None else []),
    ]
    return "  ".join(parts)


def memory_text(memory: Memory) -> str:
    """The measured peak beside the predicted one; on a CPU the host's."""
    on_gpu = memory.peak_device or memory.peak_reserved
    where = "GPU memory" if on_gpu else "host memory"
    measured = f"{where} peak {gib(on_gpu or memory.peak_host)}"
    return f"{measured}, predicted {gib(memory.predicted)}" if memory.predicted else measured


def _started(job: str, started: Started) -> str:
    resumed = f", going on from step {count(started.resumed_from)}" if started.resumed_from is not None else ""
    place = "to" if job == "push" else "on"
    attention = f", attention {started.attention}" if started.attention else ""
    return clean(f"{job} {place} {started.device or UNKNOWN} with {started.backend or UNKNOWN}{attention}") + resumed


def _phase(phase: Phase) -> str:
    if phase.file is not None:
        return clean(f"uploading {phase.file}: {size(phase.done_bytes)} of {size(phase.bytes)} before it")
    if phase.done_bytes:  # the same phase, further on: a merge writes it twice a second
        return ""
    details = [
        *([f"{count(phase.total_steps)} steps"] if phase.total_steps else []),
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

    texts = (("asked", sample.prompt), ("before", sample.before), ("after", sample.after))
    return "\n".join(f"{name:<10}{shown(text)}" for name, text in texts if text is not None)
