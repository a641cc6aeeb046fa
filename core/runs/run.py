"""The run folder: the only truth about a run. Made here, written by the worker, read by everyone.

Liveness is a POSIX lock which the worker holds on `lock` while it lives. Not a pid: those are reused, and a zombie
has one. Not `flock`: a forked child would keep it. The probe asks who holds the lock without ever taking it.
"""

import contextlib
import fcntl
import os
import re
import signal
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson

from fitune.core.errors import UserError
from fitune.core.records import from_json
from fitune.core.runs.event_log import Tail
from fitune.core.runs.events import Failed
from fitune.core.runs.info import LockNote, RunInfo
from fitune.core.runs.state import RunState, fold

if TYPE_CHECKING:
    from fitune.core.recipe import Recipe

Status = Literal["starting", "running", "stopping", "finished", "stopped", "failed", "killed"]
KILLED_AS_ASKED = "fitune: killed as asked"
"""The last line of a worker's log that fitune has killed: the worker can't write it."""
LIVE: tuple[Status, ...] = ("starting", "running", "stopping")
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def stop(self) -> Path:
        return self.path / "stop"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def merged(self) -> Path:
        return self.path / "merged"

    def info(self) -> RunInfo:
        """The content of run.json. Raises UserError if it is missing or broken."""
        try:
            raw = orjson.loads((self.path / "run.json").read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise UserError(f"{self.path} is not a run: its run.json can't be read ({error}).") from None
        if not isinstance(raw, dict):
            raise UserError(f"{self.path} is not a run: its run.json is not an object.")
        return from_json(RunInfo, raw)

    def recipe(self) -> "Recipe":
        """The resolved recipe the run was made with."""
        from fitune.core.recipe import parse  # pydantic: a third of what a screen would wait for

        return parse(self.info().recipe, str(self.path / "run.json"))

    def state(self) -> RunState:
        """Everything its events say up to now."""
        return fold(Tail(self.events).catch_up())

    def holder_pid(self) -> int | None:
        """The pid of the worker that holds the lock now; None if none does."""
        try:
            fd = os.open(self.lock, os.O_RDONLY)  # asking needs no more, and a home may be there to be read only
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        finally:
            os.close(fd)
        kind, _, _, _, pid = _FLOCK.unpack(answer)
        return None if kind == fcntl.F_UNLCK else pid

    def lock_note(self) -> LockNote:
        """The content of the lock; empty if it is not known."""
        try:
            return from_json(LockNote, orjson.loads(self.lock.read_bytes()))
        except (OSError, orjson.JSONDecodeError):
            return LockNote()

    def job(self) -> str | None:
        """The job of the worker that lives, "train" if it does not say; None if none lives."""
        return None if self.holder_pid() is None else self.lock_note().job

    def held_by(self) -> str:
        """Who holds the run, in words: `pid 4711 on gpu-box since 14:02`, as far as it is known."""
        pid, since_s = self.holder_pid(), self.lock_note().started
        who = f"pid {pid}" if pid and pid > 0 else "a worker in another container"
        where = f" on {host}" if (host := self.info().host) else ""
        since = "" if since_s is None else f" since {time.strftime('%H:%M', time.localtime(since_s))}"
        return f"{who}{where}{since}"

    def trains(self) -> bool:
        """Whether a worker lives that trains: a merge or push leaves the card alone."""
        return self.job() == "train"

    def silent_s(self) -> float | None:
        """Seconds since the worker last showed a sign of life; None if it never did."""
        return max(0.0, time.time() - self.lock.stat().st_mtime) if self.lock.exists() else None

    def status(self, state: RunState, job: str | None = None) -> Status:
        """One word for how a job of the run stands, the newest if none is named; while the worker lives, for that.

        A dead worker without a last event was killed.
        """
        untold = self.untold(state)
        if self.holder_pid() is not None:
            return "stopping" if self.stop.exists() else "starting" if untold or not state.phase.name else "running"
        end = state.ends.get(job or state.job)
        if end is None or (untold and job in (None, untold)):
            return "killed"
        if isinstance(end, Failed):
            return "failed"
        return "stopped" if end.stopped else "finished"

    def untold(self, state: RunState) -> str | None:
        """The job of the newest worker if it has told nothing, be it alive or dead: all there is ended before it began.

        It imports for half a minute before it can say a word, and may be killed by then.
        """
        note = self.lock_note()
        if state.end is None or state.ended_t is None or note.started is None:
            return None
        if note.job == state.job and note.started <= state.ended_t:
            return None  # of another job's end the times say nothing: a clock may be set back
        return note.job

    def look(self) -> tuple[Status, RunState]:
        """How the training stands, or the merge or push that works now, and what the events say, but of few steps."""
        state = fold(Tail(self.events).glance())
        if self.status(state, "train") == "killed":  # or it came to its end between the two looks
            state = fold(Tail(self.events).glance())
        return self.status(state, "train"), state

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint a resume would continue from. Each lies there whole: it was renamed into place."""
        found = [path for path in self.checkpoints.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
        return max(found, key=lambda path: int(path.name.partition("-")[2]), default=None)

    def loss_fell(self) -> bool:
        """Whether the last held-out loss, or else the last tenth of the training losses, is below the first."""
        state = self.state()
        losses = [value for _, value in (state.eval_loss if len(state.eval_loss.points) > 1 else state.loss).points]
        share = max(1, len(losses) // 10)
        return len(losses) > 1 and sum(losses[-share:]) < sum(losses[:share])

    def request_stop(self) -> None:
        """Ask the worker to write a checkpoint at the end of this step and finish. Raises UserError if it can't be."""
        try:
            self.stop.touch(mode=0o600)
        except OSError as error:
            hint = f"End it at once: fitune stop {self.name} --now"
            raise UserError(f"{self.stop} can't be written: {error.strerror}.", hint) from None

    def kill(self) -> bool:
        """End the worker and its children at once, without a checkpoint. False if none was alive."""
        pid = self.holder_pid()
        if pid is None:
            return False
        if pid <= 0:  # the kernel hides holders that live in another container
            raise UserError(f"The worker of {self.name} lives in another container.", "Stop it from there.")
        try:
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        except ProcessLookupError:  # it came to its end meanwhile
            return False
        except PermissionError:
            raise UserError(f"The worker of {self.name} is another user's.", "Only they or root can end it.") from None
        with contextlib.suppress(OSError), self.log.open("a") as log:  # a full disk: then nobody knows who did it
            log.write(f"\n{KILLED_AS_ASKED}\n")
        return True
