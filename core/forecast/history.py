"""History: each training on this machine leaves a line of predicted and measured, which corrects later forecasts.

A ratio measured on a small run says little about a large one, since the driver's share of memory is the same in both,
and the time to start kernels too. So only runs of like size count, and a correction downwards is kept small: a budget
that is too low ends in an out-of-memory error, one that is too high costs nothing. Runs of the same model come before
others; one of the same plan took what this one will take, so it is believed as it is.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import orjson

from fitune.core import __version__
from fitune.core.errors import UserError
from fitune.core.forecast.pace import HIGH, LOW, Pace
from fitune.core.memory import DRIVER_BYTES, Budget, BudgetPart, Shape, verdict_of

if TYPE_CHECKING:
    from fitune.core.machine import Gpu

FILE = "learned.jsonl"
CORRECTION = "correction"
"""The part of a corrected budget that holds the difference."""
READ_BYTES = 1 << 18
"""The newest part of the file that is read: some five hundred runs."""
NEWEST = 8
"""Most runs that a correction is made of."""
LIKE = 3.0
"""Runs count as alike up to so many times larger or smaller; a choice."""
MEMORY_LEAST, MEMORY_MOST = 0.95, 1.3
SAME_PLAN = 0.01
"""Two plans of a model whose predicted peaks differ by no larger share are the same."""
PLAN_LEAST, PLAN_MOST = 0.5, 2.0
PACE_LEAST, PACE_MOST = 0.2, 4.0
"""Corrections are held within these; what is further off has another cause than the card."""
ENOUGH = 3
"""From so many runs on, the bounds are twice the worst deviation among them, but no narrower than these:"""
MEMORY_SPREAD, PACE_SPREAD = 0.02, 0.15
STACK = ("torch", "unsloth", "unsloth_zoo", "trl", "transformers", "peft", "bitsandbytes")
"""Packages whose version changes memory or pace."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One training, as a line of learned.jsonl."""

    t: float
    """UTC seconds."""
    run: str
    place: str
    """The card's name, or the processor's."""
    place_bytes: int
    """The card's memory; 0 on a processor."""
    stack: str
    backend: str
    shared: bool
    """Others used the card meanwhile: then the figures say nothing about it."""
    predicted_bytes: int
    """Before any correction, for rows as long as they were."""
    peak_bytes: int
    """Measured: of the card, or of host RAM where there is none."""
    host_peak_bytes: int
    flops_per_token: float
    predicted_tokens_per_s: float | None
    tokens_per_s: float
    start_s: float | None = None
    """From the worker's start to the end of the first step, without a download; null in lines of older versions."""
    model: str = ""
    """The model, as `model_of` names it; empty in lines of older versions."""


@dataclass(frozen=True, slots=True)
class History:
    """Earlier trainings on one card (or processor) with one stack and backend."""

    measurements: tuple[Measurement, ...] = ()
    """Oldest first."""

    def corrected_budget(self, found: Budget, model: str = "") -> Budget:
        """The budget with the correction as a part of its own, and bounds as narrow as the runs agree. model: of
        `model_of`."""
        alike = _alike(self.measurements, lambda each: each.predicted_bytes, found.total_bytes)
        of_model = [each for each in alike if model and each.model == model]
        of_plan = [each for each in of_model if abs(each.predicted_bytes / found.total_bytes - 1) <= SAME_PLAN]
        alike = of_plan or of_model or alike
        if not alike:
            return found
        ratios = [each.peak_bytes / each.predicted_bytes for each in alike]
        least, most = (PLAN_LEAST, PLAN_MOST) if of_plan else (MEMORY_LEAST, MEMORY_MOST)
        factor = min(most, max(least, median(ratios)))
        total, needed = round(found.total_bytes * factor), round(found.needed_bytes * factor)
        if needed <= found.free_bytes:  # what torch holds between tensors shrinks where the card leaves no more
            total = min(total, max(needed, found.free_bytes - DRIVER_BYTES))
        spread = _spread(ratios, factor, MEMORY_SPREAD, 1 if of_plan else ENOUGH) * total
        doubt = round(min(found.uncertainty_bytes * factor, spread))
        verdict = "over" if found.refused else verdict_of(needed, doubt, found.free_bytes)
        high = max(total, round(min(found.high_bytes * factor, total + spread)))
        why = f"corrected by {factor - 1:+.1%} from {_runs(alike)} on this {_kind(alike)}"
        part = BudgetPart(CORRECTION, total - found.total_bytes, why)
        return replace(
            found,
            total_bytes=total,
            low_bytes=min(total, round(max(found.low_bytes * factor, total - spread))),
            high_bytes=min(high, found.free_bytes) if verdict == "fits" else high,
            needed_bytes=needed,
            uncertainty_bytes=doubt,
            verdict=verdict,
            parts=(*found.parts, part) if part.bytes else found.parts,
        )

    def corrected_pace(self, found: Pace) -> Pace:
        """The pace as the runs had it; a card without figures gets theirs."""
        alike = _alike(self.measurements, lambda each: each.flops_per_token, found.flops_per_token)
        if not alike:
            return found
        guesses = [_guess(each, found) for each in alike]
        middle = median(guesses)
        if found.tokens_per_s is not None:
            middle = min(found.tokens_per_s * PACE_MOST, max(found.tokens_per_s * PACE_LEAST, middle))
        doubt = _spread(guesses, middle, PACE_SPREAD)
        low_share = (found.low_tokens_per_s or LOW) / (found.tokens_per_s or 1)
        return replace(
            found,
            low_tokens_per_s=middle * max(low_share, 1 - doubt),
            tokens_per_s=middle,
            high_tokens_per_s=middle * min(HIGH, 1 + doubt),
            why=f"{found.why}; corrected by {_runs(alike)} on this {_kind(alike)}",
        )

    def start_s(self, size_bytes: int) -> float | None:
        """Seconds until the first step that runs with such a predicted peak took; None where there were none."""
        alike = _alike(self.measurements, lambda each: each.predicted_bytes, size_bytes)
        known = [each.start_s for each in alike if each.start_s is not None]
        return median(known) if known else None


NO_HISTORY = History()


def history_of(
    base: Path, gpu: "Gpu | None", cpu_name: str | None, versions: Mapping[str, str | None], backend: str
) -> History:
    """The history under `base` ($FITUNE_HOME) of a card, or of the processor without one.

    versions: as in Machine. backend: unsloth or trl, as it will really be. Raises UserError.
    """
    place = device_of(gpu.name if gpu else None, gpu.total_bytes if gpu else None, cpu_name)
    wanted = (*place, stack_of(versions), backend)
    return History(
        tuple(each for each in read_all(base) if (each.place, each.place_bytes, each.stack, each.backend) == wanted)
    )


def read_all(base: Path) -> tuple[Measurement, ...]:
    """The newest measurement of each training that had its card to itself, oldest first. Raises UserError."""
    path = base / FILE
    try:
        state = path.stat()
        return _read(path, state.st_mtime_ns, state.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.", "Fix its permissions, or remove it.") from None


def device_of(gpu_name: str | None, gpu_bytes: int | None, cpu_name: str | None) -> tuple[str, int]:
    """The name and memory by which a Measurement knows a card, or the processor where there is none."""
    return (gpu_name, gpu_bytes or 0) if gpu_name else (cpu_name or "CPU", 0)


def stack_of(versions: Mapping[str, str | None]) -> str:
    """The versions that matter, as a Measurement holds them; fitune's own is one, as its predictions change with it."""
    return ", ".join([f"fitune {__version__}", *(f"{name} {versions[name]}" for name in STACK if versions.get(name))])


def model_of(shape: Shape) -> str:
    """The name by which a Measurement knows a model: what it is made of, wherever its files lie."""
    return f"{shape.model_type} {shape.params} {shape.stored_as or '16 bit'}"


def append(base: Path, measurement: Measurement) -> None:
    """Add a line to the file, which its owner alone can read. Raises OSError."""
    fd = os.open(base / FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, b"\n" * torn + orjson.dumps(asdict(measurement), option=orjson.OPT_APPEND_NEWLINE))
    finally:
        os.close(fd)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> tuple[Measurement, ...]:
    """The file's measurements; read again only when it has changed, since the wizard asks at each key."""
    with path.open("rb") as file:
        file.seek(max(0, size - READ_BYTES))
        lines = file.read().split(b"\n")
    newest: dict[str, Measurement] = {}
    for line in lines:
        if (measurement := _measurement(line)) and not measurement.shared:
            newest.pop(measurement.run, None)
            newest[measurement.run] = measurement
    return tuple(newest.values())


def _measurement(line: bytes) -> Measurement | None:
    """A line as a Measurement; None if it is torn, or its figures can't be true."""
    try:
        raw = {"start_s": None, "model": "", **orjson.loads(line)}
        measurement = Measurement(**{each.name: raw[each.name] for each in fields(Measurement)})
        measured = [
            measurement.predicted_bytes,
            measurement.peak_bytes,
            measurement.flops_per_token,
            measurement.tokens_per_s,
        ]
        optional = (measurement.predicted_tokens_per_s, measurement.start_s)
        amounts = all(_is_amount(each) for each in (*measured, *(each for each in optional if each is not None)))
        sound = amounts and isinstance(measurement.run, str) and isinstance(measurement.model, str)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return measurement if sound else None


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _alike(
    measurements: Sequence[Measurement], size: Callable[[Measurement], float], wanted: float
) -> Sequence[Measurement]:
    return [each for each in measurements if 1 / LIKE <= size(each) / wanted <= LIKE][-NEWEST:]


def _guess(measurement: Measurement, found: Pace) -> float:
    """Tokens a second that this run promises: by its ratio to what was predicted, else by its operations a second."""
    if found.tokens_per_s is None or measurement.predicted_tokens_per_s is None:
        return measurement.tokens_per_s * measurement.flops_per_token / found.flops_per_token
    return found.tokens_per_s * measurement.tokens_per_s / measurement.predicted_tokens_per_s


def _spread(values: Sequence[float], middle: float, least: float, enough: int = ENOUGH) -> float:
    """The spread of measurements around a corrected value, as a share of it; unbounded with fewer runs than enough."""
    if len(values) < enough:
        return math.inf
    return max(least, 2 * max(abs(each / middle - 1) for each in values))


def _runs(measurements: Sequence[Measurement]) -> str:
    return f"{len(measurements)} run{'s' if len(measurements) > 1 else ''}"


def _kind(measurements: Sequence[Measurement]) -> str:
    return "card" if measurements[0].place_bytes else "machine"
