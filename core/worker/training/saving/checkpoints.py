"""Checkpoints as they are written and chosen: aside, flushed, checked, then named; a damaged one is passed over."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from fitune.core.diagnose import diagnose
from fitune.core.errors import UserError
from fitune.core.files import flush
from fitune.core.runs import Checkpoint, EventLog, Recovered, Run, Warned
from fitune.core.runs.checkpoints import Choice, flaw_of, numbered, set_aside, write_manifest
from fitune.core.runs.checkpoints.verify import STATES
from fitune.core.worker.cards.rank import rank, ranks, wait_for_all
from fitune.core.worker.training.recovery.bad_steps import NonFiniteError
from fitune.core.worker.training.saving.copies import Copies

ROOM_EVERY_S = 5.0
"""Seconds between two tries to save on a full disk."""
REMOVED = ".removed"
"""The end of the name of a checkpoint that is being removed: a worker that is killed meanwhile leaves no half one."""


class CheckpointWriter:
    """Writes the checkpoints of a run. A full disk costs a checkpoint, never the run."""

    def __init__(self, run: Run, log: EventLog, keep: int, copies: Copies | None) -> None:
        """keep: the number of the newest checkpoints that stay. copies: of the run, where it has some."""
        self.run, self.log, self.keep, self.copies = run, log, keep, copies
        self._skipped = self._warned_of_room = False

    def save(self, write: Callable[[], None], part: Path) -> None:
        """Write a checkpoint into the folder `part` and move it to checkpoints/, where it appears whole.

        On a full disk older ones make room; if that does not do, the checkpoint is skipped with a warning.
        Raises NonFiniteError if its weights are not finite, and whatever `write` raises for another reason.
        """
        if self._is_written(write, part):
            return
        if ranks() == 1 and self._remove_beyond(1) and self._is_written(write, part):
            return
        self._tell_skipped(part.name)

    def _is_written(self, write: Callable[[], None], part: Path) -> bool:
        """Write and publish a checkpoint; False if the disk was too full. Each rank adds its random state."""
        is_full = False
        try:
            write()
        except Exception as error:
            is_full = _tells_full_disk(error)
        wait_for_all()
        if rank() > 0:
            return True
        try:
            if not is_full:
                self._publish(part)
        except Exception as error:
            is_full = _tells_full_disk(error)
        finally:
            shutil.rmtree(part, ignore_errors=True)  # it is gone if it was published
        return not is_full

    def _publish(self, part: Path) -> None:
        flush(part)
        if (flaw := flaw_of(part)) is not None:
            if "NaN" in flaw:
                raise NonFiniteError(f"in {part.name} {flaw}")
            raise OSError(f"{part.name} could not be written whole: {flaw}")
        write_manifest(part)
        self.run.checkpoints.mkdir(exist_ok=True)
        target = self.run.checkpoints / part.name
        shutil.rmtree(target, ignore_errors=True)  # there is one after a resume from an earlier step
        part.rename(target)
        _flush_entries(self.run.checkpoints)
        self._remove_beyond(self.keep)
        self.log.write(Checkpoint(step=step_of(target)))
        if self.copies:
            self.copies.update()
        self._warn_of_little_room(target)
        if self._skipped:
            self._skipped = False
            self.log.write(Recovered(kind="disk", message="There is room on the disk again: checkpoints are written."))

    def _remove_beyond(self, keep: int) -> bool:
        """Remove all but the newest checkpoints; whether there was one to remove."""
        too_old = numbered(self.run.checkpoints)[keep:]
        for path in too_old:
            path.rename(path.with_name(path.name + REMOVED))
        if self.run.checkpoints.is_dir():
            for path in self.run.checkpoints.glob(f"checkpoint-*{REMOVED}"):
                shutil.rmtree(path, ignore_errors=True)
        return bool(too_old)

    def _warn_of_little_room(self, written: Path) -> None:
        """Warn once if less than two more checkpoints fit on the disk."""
        free_bytes = shutil.disk_usage(written).free
        needed_bytes = 2 * sum(path.stat().st_size for path in written.iterdir())
        if free_bytes < needed_bytes and not self._warned_of_room:
            self._warned_of_room = True
            message = f"The disk of {self.run.path} is nearly full: {free_bytes / 1e6:,.0f} MB are left."
            self.log.write(Warned(kind="disk", message=message))

    def _tell_skipped(self, name: str) -> None:
        if self._skipped:
            return
        self._skipped = True
        last = next(iter(numbered(self.run.checkpoints)), None)
        message = (
            f"The disk is full: {name} was left out, and the training goes on. If it ends now, it can go on from "
            f"{last.name if last else 'its start'} only. Free some space on the disk of {self.run.path}."
        )
        self.log.write(Warned(kind="disk", message=message))


def _tells_full_disk(error: Exception) -> bool:
    """True for an error of a full disk. Raises any other one."""
    if diagnose(error).kind != "disk":
        raise error
    return True


def save_when_there_is_room(save: Callable[[], None], run: Run, step: int, log: EventLog) -> None:
    """Save the adapter; on a full disk wait for room if that is all there is of the last steps, until `fitune stop`.

    step: the last one. Raises whatever `save` raises if a checkpoint has that step: a resume makes the adapter of it.
    """
    waited = False
    while True:
        try:
            save()
            break
        except Exception as error:
            last = next(iter(numbered(run.checkpoints)), None)
            is_kept = last is not None and step_of(last) == step
            if is_kept or run.stop.exists() or not _tells_full_disk(error):
                raise
        if not waited:
            waited = True
            message = (
                f"The disk is full, and the last steps are in no checkpoint: the training waits, with its weights in "
                f"memory, until there is room on the disk of {run.path}."
            )
            log.write(Warned(kind="disk", message=message))
        time.sleep(ROOM_EVERY_S)
    if waited:
        log.write(Recovered(kind="disk", message="There is room on the disk again: the adapter is saved."))


def pass_over_damaged(run: Run, choice: Choice, log: EventLog) -> None:
    """Set damaged checkpoints aside, and say what the chosen one has lost.

    Raises UserError if there were checkpoints, and none can be used.
    """
    for path, flaw in choice.damaged:
        aside = set_aside(path)
        message = f"{path.name} can't be used and was passed over: {flaw} It is named {aside.name} now."
        log.write(Warned(kind="checkpoint", message=message))
    if choice.damaged and choice.checkpoint is None:
        flaws = " ".join(f"{path.name}: {flaw}" for path, flaw in choice.damaged[:3])
        hint = f"They were set aside. Start over from the first step: fitune resume {run.name}"
        raise UserError(f"No checkpoint of {run.name} can be used. {flaws}", hint)
    if choice.checkpoint and choice.lost:
        for name, what in STATES.items():  # a damaged one would end the training
            if what in choice.lost and (choice.checkpoint / name).exists():
                (choice.checkpoint / name).rename(choice.checkpoint / f"{name}.damaged")
        message = (
            f"{choice.checkpoint.name} has lost {' and '.join(choice.lost)}, and there is no other checkpoint: the "
            "training goes on from its weights, and the next steps differ from those of a training without a break."
        )
        log.write(Warned(kind="checkpoint", message=message))


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by its name."""
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    assert match
    return int(match[1])


def _flush_entries(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
