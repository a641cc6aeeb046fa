"""The record of a finished training in the history: its measured peak and pace beside their forecast."""

import math
import time
from statistics import median

from fitune.core.errors import UserError
from fitune.core.forecast import Measurement, RowLengths, Site, forecast, history
from fitune.core.machine import grows_in_place
from fitune.core.memory import Card, shapes
from fitune.core.recipe import Recipe
from fitune.core.runs import Event, EventLog, GpuInfo, Phase, Run, Started, Step, Tail, Warned
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.training.callbacks import Batches


def record(run: Run, recipe: Recipe, batches: Batches, memory: MemoryMeter, log: EventLog) -> None:
    """Append the measurement of a training of two steps or more to learned.jsonl; a full disk loses it, with a warning.

    Without a budget for the model nothing is recorded.
    """
    if not batches.speeds or ranks() > 1:  # later forecasts ask about one card
        return
    try:
        measurement = _measurement(run, recipe, batches, memory)
    except UserError:
        return
    try:
        if measurement:
            history.append(run.path.parent.parent, measurement)
    except OSError as error:
        message = f"{history.FILE} can't be written ({error.strerror}): later budgets learn nothing from this run."
        log.write(Warned(kind="learned", message=message))


def _measurement(run: Run, recipe: Recipe, batches: Batches, memory: MemoryMeter) -> Measurement | None:
    """The measurement; None where the peak is not known. Raises UserError for a model that the budget does not know."""
    info, memory_now = run.info(), memory.read()
    gpu = info.gpu
    peak_bytes, rows = memory_now.peak_device if gpu else memory_now.peak_host, recipe.train.micro_batch
    if not peak_bytes:
        return None
    # As the forecast asks: the files of a known model may spell its sizes another way, and counting them takes seconds.
    shape = shapes.load(recipe.model.id, recipe.model.revision, recipe.model.trust_remote_code)
    # The lengths of the batches are measured, so packing must not be estimated on top of them.
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"packing": False})})
    lengths = RowLengths(
        math.ceil(batches.largest / rows / recipe.train.texts), batches.tokens / batches.count / rows, batches.largest
    )
    if recipe.train.micro_tokens:
        step_rows = rows * recipe.train.grad_accum
        row_tokens, passes = batches.tokens / batches.steps / step_rows, batches.count / batches.steps
        lengths = RowLengths(batches.largest, row_tokens, batches.largest, passes)
    expected = forecast(shape, recipe, Site(_card(gpu), gpu.name if gpu else None), lengths=lengths)
    place, place_bytes = history.device_of(gpu.name if gpu else None, gpu.total_bytes if gpu else None, info.cpu)
    return Measurement(
        t=round(time.time(), 3),
        run=run.name,
        place=place,
        place_bytes=place_bytes,
        stack=history.stack_of(info.versions),
        backend=recipe.train.backend,
        shared=memory.shared,
        predicted_bytes=expected.budget.total_bytes,
        peak_bytes=peak_bytes,
        host_peak_bytes=memory_now.peak_host or 0,
        flops_per_token=expected.pace.flops_per_token,
        predicted_tokens_per_s=expected.pace.tokens_per_s,
        tokens_per_s=median(batches.speeds),
        start_s=_start_s(run),
        model=history.model_of(shape),
    )


def _start_s(run: Run) -> float | None:
    """Seconds from the start of the worker to the end of its first step, without a download; None where it has resumed,
    which asks no questions first."""
    began_s, download_s = run.lock_note().started, 0.0
    before: Event | None = None
    for event in Tail(run.events).catch_up():
        if event.job != "train" or began_s is None or event.t < began_s:
            continue
        if before and isinstance(before.data, Phase) and before.data.name == "download":
            download_s += event.t - before.t
        if isinstance(event.data, Started) and event.data.resumed_from is not None:
            return None
        if isinstance(event.data, Step):
            return event.t - began_s - download_s
        before = event
    return None


def _card(gpu: GpuInfo | None) -> Card | None:
    """The card as it was when the run was planned."""
    if gpu is None or not gpu.total_bytes:
        return None
    free_bytes = gpu.total_bytes if gpu.free_bytes is None else gpu.free_bytes
    return Card(gpu.total_bytes, free_bytes, gpu.compute_capability, grows_in_place())
