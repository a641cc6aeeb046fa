"""A copy of the run in another place after each checkpoint (run.copy_to): a rented machine may vanish with its disk.

The copy is a run folder itself. Put back below runs/ on another machine, `fitune resume` goes on from it.
"""

import os
import sys
import threading
import time
from pathlib import Path
from traceback import format_exc

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Recovered, Run, Warned
from fitune.core.runs.checkpoints import numbered

LEFT_OUT = ("work", "lock", "stop", "checkpoints", "merged", "gguf")
"""Of a run's folder: what belongs to a live worker, and what is large and can be made again."""
LAST_COPY_S = 600.0
"""The longest wait for the last copy, at the end of the training."""


class Copies:
    """Copies a run in a thread of its own, so that a slow network does not hold up the training."""

    def __init__(self, run: Run, log: EventLog, target: str) -> None:
        """target: a folder, or the URL of one in a bucket; the copy lies in it under the run's name.

        Raises UserError if nothing can be written there.
        """
        self.run, self.log = run, log
        try:
            self.files, root = fsspec.core.url_to_fs(target)
            self.root = f"{root.rstrip('/')}/{run.name}"
            self.files.makedirs(self.root, exist_ok=True)
        except Exception as error:  # each kind of place has its own
            hint = "Correct the place, or train without a copy: leave run.copy_to out."
            raise UserError(f"run.copy_to: {diagnose(error).message}", hint) from error
        if isinstance(self.files, LocalFileSystem):
            Path(self.root).chmod(0o700)
            if Path(self.root).samefile(run.path):
                raise UserError("run.copy_to: that is where the run itself lies.", "Name another disk, or a bucket.")
        self._has_failed = False
        self._wanted, self._is_idle = threading.Event(), threading.Event()
        self._is_idle.set()
        threading.Thread(target=self._work, daemon=True).start()

    def update(self) -> None:
        """Copy what is new, soon."""
        self._is_idle.clear()
        self._wanted.set()

    def finish(self) -> None:
        """Copy what is new, and wait until that is done."""
        self.update()
        if not self._is_idle.wait(LAST_COPY_S):
            message = f"The last copy to {self.root} was not done after {LAST_COPY_S:.0f} s. The run itself is whole."
            self.log.write(Warned(kind="copy", message=message))

    def _work(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            try:
                self._copy()
            except Exception as error:
                if self._is_source_gone(error):
                    self._wanted.set()  # a newer checkpoint took its place meanwhile
                    time.sleep(1)
                    continue
                self._tell_failure(error)
            else:
                self._tell_recovery()
            if not self._wanted.is_set():
                self._is_idle.set()

    def _is_source_gone(self, error: Exception) -> bool:
        """True if a file of the run was removed while it was copied, and not the place of the copy."""
        if not isinstance(error, FileNotFoundError):
            return False
        gone = Path(str(error.filename or error.args[0]))  # fsspec gives the path alone
        is_link = os.path.lexists(gone)  # to what is not there: it will not be there the next time either
        return gone.is_relative_to(self.run.path) and not is_link

    def _copy(self) -> None:
        """Copy the newest checkpoint, then the files beside it, and remove the older checkpoints of the copy."""
        newest = next(iter(numbered(self.run.checkpoints)), None)
        if newest is not None:
            self._copy_folder(newest, f"{self.root}/checkpoints/{newest.name}")
        for path in sorted(self.run.path.iterdir()):
            if path.name in LEFT_OUT:
                continue
            target = f"{self.root}/{path.name}"
            if path.is_dir():
                self._copy_folder(path, target)
            else:
                self.files.put_file(str(path), target)
        held = self.files.ls(f"{self.root}/checkpoints", detail=False, refresh=True) if newest else []
        for old in held:
            if newest and Path(old).name != newest.name:
                self.files.rm(old, recursive=True)

    def _copy_folder(self, folder: Path, target: str) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            there = f"{target}/{path.relative_to(folder)}"
            self.files.makedirs(there.rpartition("/")[0], exist_ok=True)
            self.files.put_file(str(path), there)

    def _tell_failure(self, error: Exception) -> None:
        """Tell a failure once; each checkpoint tries again."""
        print(redact(format_exc()), file=sys.stderr, flush=True)  # into worker.log
        if not self._has_failed:
            self._has_failed = True
            message = (
                f"The run can't be copied to {self.root}: {diagnose(error).message.rstrip('.')}. The training goes on, "
                "and the next checkpoint tries again."
            )
            self.log.write(Warned(kind="copy", message=message))

    def _tell_recovery(self) -> None:
        if self._has_failed:
            self._has_failed = False
            self.log.write(Recovered(kind="copy", message=f"The run is copied to {self.root} again."))
