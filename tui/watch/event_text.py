"""A run's events as plain lines, for `fitune watch` and wherever no screen is.

What comes from a run folder is foreign text, so it passes through tui.text.clean.clean here.
"""

from typing import Any

from fitune.core.runs import Event
from fitune.tui.text import UNKNOWN, clean, count, duration, exponent, gib, number, rate, size
from fitune.tui.watch.ending import Story, loss_text, phase_text, value


def line(event: Event, story: Story) -> str:
    """One event as one plain line; empty for those that need none."""
    data = event.data
    match event.type:
        case "started":
            return _started(event)
        case "phase":
            return _phase(data)
        case "step":
            return step_line(data, story)
        case "eval":
            return f"step {count(value(data, 'step'))}  held-out loss {loss_text(data)}"
        case "checkpoint":
            return f"step {count(value(data, 'step'))}  checkpoint written"
        case "warning":
            return f"WARN  {clean(str(data.get('message', '')), 500)}"
        case "recovered":
            return f"OK    recovered: {clean(str(data.get('message', '')), 500)}"
        case "sample":
            return _sample(data)
    return ""


def step_line(data: dict[str, Any], story: Story) -> str:
    """The numbers of a step, and the time left once it is known."""
    eta_s = story.eta_s()
    parts = [
        f"step {count(value(data, 'step'))}/{count(story.total_steps)}",
        f"loss {loss_text(data)}",
        f"lr {exponent(value(data, 'lr'))}",
        f"grad {number(value(data, 'grad_norm'), 2)}",
        rate(value(data, "tokens_per_s")),
        *([f"{duration(eta_s)} left"] if eta_s is not None else []),
    ]
    return "  ".join(parts)


def memory_text(memory: dict[str, Any]) -> str:
    """The measured peak beside the predicted one; on a CPU the host's."""
    on_card = value(memory, "peak_device") or value(memory, "peak_reserved")
    where = "GPU memory" if on_card else "host memory"
    measured = f"{where} peak {gib(on_card or value(memory, 'peak_host'))}"
    predicted = value(memory, "predicted")
    return f"{measured}, predicted {gib(predicted)}" if predicted else measured


def _started(event: Event) -> str:
    data, resumed = event.data, value(event.data, "resumed_from")
    said = f", going on from step {count(resumed)}" if resumed is not None else ""
    place = "to" if event.job == "push" else "on"
    who = f"{event.job} {place} {data.get('device', UNKNOWN)} with {data.get('backend', UNKNOWN)}"
    return clean(who) + said


def _phase(data: dict[str, Any]) -> str:
    total = value(data, "total_steps")
    files, amount, done = value(data, "files"), value(data, "bytes"), value(data, "done_bytes")
    if "file" in data:
        return clean(f"uploading {data['file']}: {size(done)} of {size(amount)} before it")
    if done:  # told again, further on: a merge says so twice a second
        return ""
    told = [
        *([f"{count(total)} steps"] if total else []),
        *([clean(str(data["kind"]), 40)] if "kind" in data else []),
        *([f"{count(files)} files"] if files else []),
        *([size(amount)] if amount else []),
        *([clean(f"to {data['repo']}")] if "repo" in data else []),
        *([clean(f"branch {data['branch']}")] if "branch" in data else []),
    ]
    return phase_text(str(data.get("name", ""))) + (f": {', '.join(told)}" if told else "")


def _sample(data: dict[str, Any]) -> str:
    def said(key: str) -> str:
        return clean(str(data[key]), 600, keep_newlines=True).replace("\n", "\n          ")

    named = ((f"{name:<10}", key) for name, key in (("asked", "prompt"), ("before", "before"), ("after", "after")))
    return "\n".join(name + said(key) for name, key in named if data.get(key) is not None)
