"""What ended a worker that left no last event, where its log, systemd or the kernel tells."""

import os
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

from fitune.core.runs.run import KILLED_AS_ASKED, Run

LOG_BYTES = 1 << 14
KERNEL_RECORD_BYTES = 8192
"""The most that one read of /dev/kmsg gives (CONSOLE_EXT_LOG_MAX of Linux)."""
LEAST_FREE_BYTES = 1 << 16
RAM_RAN_OUT = "The kernel's OOM killer ended it: the RAM ran out."
SIGNALS = {"KILL": "kill -9", "SEGV": "a crash in native code", "ABRT": "a crash in native code", "BUS": "a crash"}


def cause(run: Run) -> str | None:
    """What killed the newest worker of a run, in a sentence; None if nobody tells. Foreign text may be in it."""
    return _found(run, run.lock.stat().st_mtime_ns) if run.lock.exists() else None


@cache
def _found(run: Run, seen_ns: int) -> str | None:
    """Asked once for each death: readers look twice a second."""
    return (
        from_log(run.log)
        or from_systemd(run)
        or from_kernel(run, Path("/dev/kmsg"))
        or from_disk(run.path)
        or from_container(Path("/sys/fs/cgroup/memory.events"))
    )


def from_log(log: Path) -> str | None:
    """A kill by fitune itself, or the last cry of native code."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            end = file.read().decode(errors="replace").rstrip()
    except FileNotFoundError:
        return None
    if end.endswith(KILLED_AS_ASKED):
        return "It was killed as asked, with fitune."
    cries = re.findall(r"^Fatal Python error: .+|^terminate called [^\n]+(?:\n\s*what\(\): [^\n]+)?", end, re.MULTILINE)
    return f"Its log says: {' '.join(cries[-1].split())[:300]}" if cries else None


def from_systemd(run: Run) -> str | None:
    """How the newest unit of the run ended, if the user's manager ran it and keeps a journal."""
    if not shutil.which("journalctl"):
        return None
    note = run.lock_note()  # without the job and its start, units of other runs and earlier ones of this would answer
    unit, since_s = f"--unit=fitune-{run.name}-{note.job}-*", int(note.started or 0)
    asked = ["journalctl", "--user", unit, f"--since=@{since_s}", "--output=cat", "--lines=20", "--no-pager"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, errors="replace", timeout=3).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "oom-kill" in told:
        return RAM_RAN_OUT
    signals = re.findall(r"code=(?:killed|dumped), status=\d+/([A-Z]+)", told)
    return f"systemd says: signal {signals[-1]}, {SIGNALS.get(signals[-1], 'sent by someone')}." if signals else None


def from_kernel(run: Run, messages: Path) -> str | None:
    """Whether the kernel's log, where it may be read, has the worker's process among those ended for memory."""
    note = run.lock_note()
    try:
        log = os.open(messages, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # none in a container; for root alone on many machines
        return None
    booted_s = time.time() - time.monotonic()
    try:
        while record := os.read(log, KERNEL_RECORD_BYTES):  # "priority,number,microseconds,flags;text"
            at_s = booted_s + int(record.split(b",")[2]) / 1e6
            if f"Killed process {note.pid} (".encode() in record and at_s > (note.started or 0):
                return RAM_RAN_OUT
    except (OSError, ValueError, IndexError):  # BlockingIOError: the end of what there is
        return None
    finally:
        os.close(log)
    return None


def from_disk(folder: Path) -> str | None:
    """Whether the disk of the run is full by now, so that its worker may have ended without a word."""
    if shutil.disk_usage(folder).free >= LEAST_FREE_BYTES:
        return None
    return f"The disk of {folder} is full, so that it could not write down why it ended: free some space."


def from_container(events: Path) -> str | None:
    """Whether the container's own limit of memory has ended a process since it started."""
    try:
        kills = re.search(r"^oom_kill ([1-9]\d*)$", events.read_text(), re.MULTILINE)
    except OSError:
        return None
    return (
        f"Most likely the RAM ran out: this container's OOM killer was at work ({kills[1]} so far)." if kills else None
    )
