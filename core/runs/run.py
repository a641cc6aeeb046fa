"""A run folder: its files, its status, its newest checkpoint, and how to stop or kill its worker.

The folder is the only truth about a run: the worker writes it, everyone reads it. A worker lives while it holds the
lock (core/runs/lock.py).
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson

from fitune.core.errors import UserError
from fitune.core.files import read_file, write_atomically
from fitune.core.records import from_json
from fitune.core.runs.checkpoints import numbered
from fitune.core.runs.event_log import Tail
from fitune.core.runs.events import Failed
from fitune.core.runs.info import RunInfo
from fitune.core.runs.lock import LockNote, holder_pid, read_note
from fitune.core.runs.state import RunState, fold

if TYPE_CHECKING:
    from fitune.core.recipe import Recipe

Status = Literal["starting", "running", "stopping", "finished", "stopped", "failed", "killed"]
KILLED_AS_ASKED = "fitune: killed as asked"
"""The last line of a worker's log that fitune has killed: the worker can't write it."""
GONE_WITHIN_S = 10.0
LIVE: tuple[Status, ...] = ("starting", "running", "stopping")


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
            raw = orjson.loads(read_file(self.path / "run.json"))
        except (OSError, orjson.JSONDecodeError) as error:
            raise UserError(f"{self.path} is not a run: its run.json can't be read ({error}).") from None
        if not isinstance(raw, dict):
            raise UserError(f"{self.path} is not a run: its run.json is not an object.")
        return from_json(RunInfo, raw)

    def recipe(self) -> "Recipe":
        """The resolved recipe the run was made with, and what was changed since. Raises UserError."""
        from fitune.core.recipe import parse, with_values  # pydantic: a third of what a screen would wait for

        return parse(with_values(self.info().recipe, self.changes()), str(self.path / "run.json"))

    def changes(self) -> dict[str, object]:
        """The fields of the recipe that a resume or a recovery has changed, by `group.key`. Raises UserError."""
        path = self.path / "changes.json"
        try:
            changes = orjson.loads(read_file(path))
        except FileNotFoundError:
            return {}
        except (OSError, orjson.JSONDecodeError) as error:
            hint = "Remove it, to go on with the settings in run.json."
            raise UserError(f"{path} can't be read ({error}).", hint) from None
        return changes if isinstance(changes, dict) else {}

    def change(self, changes: Mapping[str, object]) -> None:
        """Change fields of the recipe for the rest of the run. Raises OSError, and UserError as `changes`."""
        content = orjson.dumps(self.changes() | dict(changes), option=orjson.OPT_INDENT_2)
        write_atomically(self.path / "changes.json", content)

    def state(self) -> RunState:
        """The state that its events add up to by now."""
        return fold(Tail(self.events).catch_up())

    def holder_pid(self) -> int | None:
        """The pid of the worker that holds the lock now; None if none does."""
        return holder_pid(self.lock)

    def is_copy(self) -> bool:
        """True if the folder was copied from the one in which its newest worker works or has worked."""
        inode = self.lock_note().inode
        return inode is not None and self.lock.exists() and self.lock.stat().st_ino != inode

    def lock_note(self) -> LockNote:
        """The note of the newest worker in the lock; empty if it is not known."""
        return read_note(self.lock)

    def job(self) -> str | None:
        """The job of the worker that lives, "train" if it does not say; None if none lives."""
        return None if self.holder_pid() is None else self.lock_note().job

    def held_by(self) -> str:
        """The holder of the run in words: `pid 4711 on gpu-box since 14:02`, as far as it is known."""
        pid, since_s = self.holder_pid(), self.lock_note().started
        host = self.lock_note().host or self.info().host
        is_far = self.is_copy() or (host or os.uname().nodename) != os.uname().nodename
        who = f"pid {pid}" if pid and pid > 0 else "a worker" if is_far else "a worker in another container"
        where = f" on {host}" if host else ""
        since = "" if since_s is None else f" since {time.strftime('%H:%M', time.localtime(since_s))}"
        return f"{who}{where}{since}"

    def trains(self) -> bool:
        """True if a worker lives that trains: a merge or push leaves the card alone."""
        return self.job() == "train"

    def lacks_adapter(self) -> UserError:
        """The refusal of what needs an adapter that is not there: the run trains still, or it ended before."""
        if self.trains():
            hint = f"See how far it is: fitune watch {self.name}"
            return UserError(f"{self.name} is still training; its adapter comes at the end.", hint)
        return UserError(f"{self.name} has no adapter yet.", f"Train it first: fitune resume {self.name}")

    def silent_s(self) -> float | None:
        """Seconds since the worker last showed a sign of life; None if it never did, or in a copy of the folder, which
        is as old as it is."""
        if not self.lock.exists() or self.is_copy():
            return None
        return max(0.0, time.time() - self.lock.stat().st_mtime)

    def status(self, state: RunState, job: str | None = None) -> Status:
        """The status of a job of the run, the newest if none is named; while a worker lives, of its job.

        A dead worker without a last event was killed.
        """
        silent_job = self.silent_job(state)
        if self.holder_pid() is not None:
            return "stopping" if self.stop.exists() else "starting" if silent_job or not state.phase.name else "running"
        end = state.ends.get(job or state.job)
        if end is None or (silent_job and job in (None, silent_job)):
            return "killed"
        if isinstance(end, Failed):
            return "failed"
        return "stopped" if end.stopped else "finished"

    def silent_job(self, state: RunState) -> str | None:
        """The job of the newest worker, alive or dead, if it has written no event; None if it has.

        It imports for half a minute before its first event, and may be killed by then.
        """
        note = self.lock_note()
        if state.end is None or state.ended_t is None or note.started is None:
            return None
        if note.events is not None:
            return None if state.seq > note.events else note.job
        if note.job == state.job and note.started <= state.ended_t:
            return None  # the times of another job's end prove nothing: a clock may be set back
        return note.job

    def current(self) -> tuple[Status, RunState]:
        """The status of the training, or of the merge or push that works now; and the state, with few of its steps."""
        state = fold(Tail(self.events).read_thinned())
        if self.status(state, "train") == "killed":  # or it ended after its events were read
            state = fold(Tail(self.events).read_thinned())
        return self.status(state, "train"), state

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint that a resume would continue from, unless it was damaged since; None if there is none.

        Each is whole when it gets its name. To be sure, `core.runs.checkpoints.choose` reads their files.
        """
        return next(iter(numbered(self.checkpoints)), None)

    def has_adapter(self) -> bool:
        """True if the folder of the adapter holds its weights."""
        return any((self.adapter / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin"))

    def loss_fell(self) -> bool:
        """True if the last held-out loss, or else the last tenth of the training losses, is below the first."""
        state = self.state()
        losses = [value for _, value in (state.eval_loss if len(state.eval_loss.points) > 1 else state.loss).points]
        share = max(1, len(losses) // 10)
        return len(losses) > 1 and sum(losses[-share:]) < sum(losses[:share])

    def request_stop(self) -> None:
        """Ask the worker to write a checkpoint after this step and finish. Raises UserError if it can't be asked."""
        if self.is_copy():
            raise UserError(f"{self.path} is a copy of the run.", f"Stop it where it works: {self.held_by()}.")
        try:
            self.stop.touch(mode=0o600)
        except OSError as error:
            hint = f"End it at once: fitune stop {self.name} --now"
            raise UserError(f"{self.stop} can't be written: {error.strerror}.", hint) from None

    def kill(self) -> bool:
        """Kill the worker and its children at once, without a checkpoint. False if none was alive.

        Raises UserError if the worker lives in another container or is another user's.
        """
        pid = self.holder_pid()
        if pid is None:
            return False
        if pid <= 0:  # the kernel hides holders that live in another container
            hint = f"Stop it from there: it is {self.held_by()}."
            raise UserError(f"The worker of {self.name} does not live here.", hint)
        try:
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        except ProcessLookupError:  # it came to its end meanwhile
            return False
        except PermissionError:
            raise UserError(f"The worker of {self.name} is another user's.", "Only they or root can end it.") from None
        with contextlib.suppress(OSError), self.log.open("a") as log:  # a full disk: then nobody knows who did it
            log.write(f"\n{KILLED_AS_ASKED}\n")
        return True

    def wait_for_end(self) -> None:
        """Wait until no worker is alive, for GONE_WITHIN_S at most: the kernel takes a moment to end a killed one."""
        deadline = time.monotonic() + GONE_WITHIN_S
        while self.holder_pid() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
