"""Faults, put into a worker before its main: a signal at an event, an error in a step, a full disk at a kind of write.

A fault of the matrix is a line of code that calls these.
"""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fitune.core.runs import EventData, EventLog, Phase, Step
from fitune.core.worker import __main__ as worker
from fitune.core.worker.training.recovery.leaving import restart

KILL, TERM, SEGV, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGSTOP
Action = Callable[[], None]


class StartedAnew(BaseException):
    """What a worker that starts anew does here: os.execv would import everything again."""


def _start_anew(*_: object) -> None:
    raise StartedAnew


setattr(worker, "restart", _start_anew)  # noqa: B010 - it never returns


def truly_start_anew() -> None:
    """Let the worker replace its process, as it does for users; the new one meets no fault."""
    setattr(worker, "restart", restart)  # noqa: B010


def send(number: int) -> Action:
    """Send a signal to this process."""
    return lambda: os.kill(os.getpid(), number)


def at_event(is_meant: Callable[[EventData], bool], action: Action) -> None:
    """Act right after an event was written, the first time."""
    write, done = EventLog.write, list[bool]()

    def written(log: EventLog, data: EventData) -> None:
        write(log, data)
        if not done and is_meant(data):
            done.append(True)
            action()

    setattr(EventLog, "write", written)  # noqa: B010 - a method


def at_phase(name: str, action: Action) -> None:
    """Act when a phase begins."""
    at_event(lambda data: isinstance(data, Phase) and data.name == name, action)


def at_step(step: int, action: Action) -> None:
    """Act when a step is written."""
    at_event(lambda data: isinstance(data, Step) and data.step == step, action)


def fail() -> None:
    """Fail as no library does."""
    raise RuntimeError("an injected fault")


def before(module: str, function: str, action: Callable[..., None]) -> None:
    """Act each time before a function, or a method, of a module is called, with its arguments."""
    import importlib

    owner: Any = importlib.import_module(module)
    *path, name = function.split(".")
    for part in path:
        owner = getattr(owner, part)
    inner = getattr(owner, name)

    def called(*known: Any, **named: Any) -> Any:
        action(*known, **named)
        return inner(*known, **named)

    setattr(owner, name, called)


def in_loss(change: Callable[[Any, Any, int, Any], Any]) -> None:
    """Change the loss of each pass: change(model, inputs, step, loss)."""
    from transformers import Trainer

    inner = Trainer.compute_loss

    def compute(trainer: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        loss = inner(trainer, model, inputs, *rest, **named)
        return change(model, inputs, trainer.state.global_step + 1, loss)

    Trainer.compute_loss = compute


def no_memory(rows: int, training: bool = True, steps: range = range(1, 10**6), times: int = 10**6) -> None:
    """Let a pass hold so many rows at once, and more only after so many failures."""
    import torch

    failures = 0

    def change(model: Any, inputs: Any, step: int, loss: Any) -> Any:
        nonlocal failures
        is_meant = model.training == training and step in steps and failures < times
        if is_meant and inputs["input_ids"].shape[0] > rows:
            failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss

    in_loss(change)


def loss_times(factor: float, steps: range, once: str | None = None) -> None:
    """Multiply the loss of some training steps. once: a file that is made, so that the next start is not disturbed."""

    def change(model: Any, inputs: Any, step: int, loss: Any) -> Any:
        if not model.training or step not in steps or (once and Path(once).exists() and step == steps[0]):
            return loss
        if once and step == steps[-1]:
            Path(once).touch()
        return loss * factor

    in_loss(change)


def poison(step: int) -> None:
    """Make a weight NaN after a step."""

    def change(model: Any, inputs: Any, now: int, loss: Any) -> Any:
        import torch

        if model.training and now == step + 1 and not getattr(model, "poisoned", False):
            model.poisoned = True
            with torch.no_grad():
                next(each for each in model.parameters() if each.requires_grad).fill_(float("nan"))
        return loss

    in_loss(change)


def slow_passes(seconds: float) -> None:
    """Make each pass of the training take longer."""

    def change(model: Any, inputs: Any, step: int, loss: Any) -> Any:
        if model.training:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                time.sleep(0.01)
        return loss

    in_loss(change)


def full_disk(module: str, function: str, is_meant: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Let a function meet a full disk."""

    def refuse(*known: Any, **named: Any) -> None:
        if is_meant(*known, **named):
            raise OSError(errno.ENOSPC, "No space left on device")

    before(module, function, refuse)
