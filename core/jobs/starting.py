"""Starts the worker on a run: one at a time, and only one training on a card."""

import errno
import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import orjson

from fitune.core import at_end, runs
from fitune.core.at_end import OnEnd
from fitune.core.deliver import ExportRequest, MergeRequest, PushRequest, RaceRequest, ScoreRequest
from fitune.core.errors import CardTaken, UserError
from fitune.core.files import write_atomically
from fitune.core.machine import require_training_stack
from fitune.core.runs import GpuInfo, Run, spawn
from fitune.core.units import GIB

Request = MergeRequest | ExportRequest | PushRequest | ScoreRequest | RaceRequest


def start(
    run: Run,
    job: str,
    share_gpu: bool = False,
    request: Request | None = None,
    changes: Mapping[str, object] | None = None,
    on_end: OnEnd | None = None,
) -> str:
    """Start the worker on a run and wait until it lives. Returns how: "setsid" or "systemd".

    share_gpu: allow another run on the same card. request: written to JOB.json for the worker. changes: of the run's
    recipe, by `group.key`, for the rest of the run. on_end: what is done when the training has ended; None leaves it as
    it was. Raises UserError if the training stack is not installed, if the run is alive already, if another run holds
    its card, if its folder can't be written to, or if no worker came up.
    """
    if job != "push":  # the one job that is done without torch
        require_training_stack()
    if changes and (tracker := changes.get("train.report_to")):
        refuse_absent_tracker(str(tracker))
    try:
        with _one_start_at_a_time(run.path.parent):
            if run.holder_pid() is not None:
                hint = f"Watch it: fitune watch {run.name}"
                raise UserError(f"{run.name} is running already ({run.held_by()}).", hint)
            if not share_gpu:
                refuse_busy_gpu(run)
            run.stop.unlink(missing_ok=True)
            if request is not None:
                write_atomically(run.path / f"{job}.json", orjson.dumps(request, option=orjson.OPT_INDENT_2))
            if changes:
                run.change(changes)
            if on_end is not None:
                at_end.keep(run, on_end)
            how = spawn.spawn(run, job)
            if job == "train":
                at_end.watch(run)
            return how
    except OSError as error:
        raise _unwritable(run, error) from None


def refuse_absent_tracker(name: str) -> None:
    """Raise UserError if the package of train.report_to is not installed: the trainer would find out after minutes."""
    if name != "none" and find_spec(name) is None:
        hint = f'Install it beside fitune (uv pip install {name}), or set report_to = "none".'
        raise UserError(f"train.report_to: the package {name} is not installed.", hint)


def _unwritable(run: Run, error: OSError) -> UserError:
    hints = {errno.EMFILE: "Raise the limit of open files: ulimit -n 1024", errno.ENOSPC: "Free some disk space."}
    hint = hints.get(error.errno or 0, "See who may write there.")
    return UserError(f"{run.path} can't be written to: {error.strerror}.", hint)


def refuse_busy_gpu(run: Run) -> None:
    """Raise CardTaken, naming the run, if a training holds a card that this one wants."""
    wanted = {card.uuid for card in run.info().cards if card.uuid}
    for other, held in _on_cards(wanted, run.path.parent.parent) if wanted else ():
        if other.name != run.name and held:
            raise CardTaken(
                f"{held.name or 'The GPU'} is held by the run {other.name}.",
                f"Watch it (fitune watch {other.name}), stop it (fitune stop {other.name}), or add --share-gpu.",
            )


def trainings_beside(cards: Collection[str], base: Path) -> str:
    """What it means that others train already, as a sentence; empty if none does.

    cards: the uuids of the cards that a training wants; none for the processor. base: the folder of fitune's data.
    """
    said = []
    for other, held in _on_cards(cards, base):
        place = (held.name or "this card") if held else "this processor"
        budget = other.info().budget
        takes = f", and it may take {budget.total_bytes / GIB:.1f} GiB of the memory in all" if budget else ""
        said.append(f"{other.name} trains on {place}, too: each then goes at half its pace or less{takes}.")
    return " ".join(said)


def _on_cards(cards: Collection[str], base: Path) -> Iterator[tuple[Run, GpuInfo | None]]:
    """The trainings at work on one of these cards, and the card; without cards, those on the processor."""
    for run, held in at_work(base):
        if not cards and not held:
            yield run, None
        yield from ((run, card) for card in held if card.uuid in cards)


def at_work(base: Path) -> Iterator[tuple[Run, tuple[GpuInfo, ...]]]:
    """Every training at work, and its cards; none for the processor. base: the folder of fitune's data."""
    for run in runs.all_runs(base):
        if run.trains():
            yield run, run.info().cards


@contextmanager
def _one_start_at_a_time(folder: Path) -> Iterator[None]:
    fd = os.open(folder / ".start", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
