"""Pack an adapter into one zip file, and give the command that downloads it."""

import getpass
import os
import platform
import shlex
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fitune.core.deliver.handoff.spec import TrainingSpec, trained_run
from fitune.core.errors import UserError
from fitune.core.runs import Run

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold, for every entry: the same adapter makes the same file."""


def pack(spec: TrainingSpec) -> Path:
    """Write NAME-adapter.zip into the run's folder, whole or not at all. Raises UserError without an adapter or room.

    Stored, not compressed: weights hardly shrink. Inside, everything lies in one folder named like the run.
    """
    run = trained_run(spec, "zip")
    path = run.path / f"{run.name}-adapter.zip"
    part_file = path.with_name(path.name + ".part")
    try:
        _write(run, part_file)
        part_file.replace(path)
    except OSError as error:
        with suppress(OSError):
            part_file.unlink(missing_ok=True)
        hint = f"Free some disk, or fetch the folder itself: {run.adapter}"
        raise UserError(f"{path} can't be written: {error.strerror}.", hint) from None
    return path


def _write(run: Run, part_file: Path) -> None:
    with open(os.open(part_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(path for path in run.adapter.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(f"{run.name}/{path.relative_to(run.adapter).as_posix()}", EPOCH)
                entry.external_attr = 0o644 << 16
                with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                    while block := source.read(1 << 20):
                        target.write(block)
        file.flush()
        os.fsync(file.fileno())


def fetch_command(path: Path, environment: Mapping[str, str]) -> str:
    """The scp command to type on the user's own computer.

    environment: of this process; SSH_CONNECTION ("client port server port") names the address of this machine.
    """
    parts = environment.get("SSH_CONNECTION", "").split()
    host, port = (parts[2], parts[3]) if len(parts) == 4 else (platform.node(), "22")
    host = f"[{host}]" if ":" in host else host
    at_port = [] if port == "22" else ["-P", port]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container whose user has a number only
        user = "USER"
    return shlex.join(["scp", *at_port, f"{user}@{host}:{path}", "."])
