"""The cause of death of a worker that left no last event: from its log, systemd, the kernel or the disk."""

import os
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

from fitune.core.files import open_file
from fitune.core.runs.run import KILLED_AS_ASKED, Run

LOG_BYTES = 1 << 14
KERNEL_RECORD_BYTES = 8192
"""The most that one read of /dev/kmsg gives (CONSOLE_EXT_LOG_MAX of Linux)."""
LEAST_FREE_BYTES = 1 << 16
RAM_RAN_OUT = "The kernel's OOM killer ended it: the RAM ran out."
SIGNALS = {"KILL": "kill -9", "SEGV": "a crash in native code", "ABRT": "a crash in native code", "BUS": "a crash"}


def cause_of_death(run: Run) -> str | None:
    """The cause of death of a run's newest worker, in a sentence; None if unknown. Foreign text may be in it."""
    return _cause_at(run, run.lock.stat().st_mtime_ns) if run.lock.exists() else None


@cache
def _cause_at(run: Run, last_alive_ns: int) -> str | None:
    """The cause, computed once for each death: screens ask twice a second."""
    return (
        from_log(run.log)
        or from_systemd(run)
        or from_kernel(run, Path("/dev/kmsg"))
        or from_disk(run.path)
        or from_container(Path("/sys/fs/cgroup/memory.events"))
    )


def killed_as_asked(run: Run) -> bool:
    """True if fitune itself killed the newest worker, since its user asked for it."""
    return _end_of(run.log).endswith(KILLED_AS_ASKED)


def from_log(log: Path) -> str | None:
    """A kill by fitune itself, or the last error of native code."""
    end = _end_of(log)
    if end.endswith(KILLED_AS_ASKED):
        return "It was killed as asked, with fitune."
    errors = re.findall(
        r"^Fatal Python error: .+|^terminate called [^\n]+(?:\n\s*what\(\): [^\n]+)?", end, re.MULTILINE
    )
    return f"Its log says: {' '.join(errors[-1].split())[:300]}" if errors else None


def _end_of(log: Path) -> str:
    """The end of a log; empty where there is none."""
    try:
        with open(open_file(log), "rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            return file.read().decode(errors="replace").rstrip()
    except OSError:
        return ""


def from_systemd(run: Run) -> str | None:
    """The end of the run's newest unit, if the user's manager ran it and keeps a journal."""
    if not shutil.which("journalctl"):
        return None
    note = run.lock_note()  # without the job and its start, units of other runs and earlier ones of this would answer
    unit, since_s = f"--unit=fitune-{run.name}-{note.job}-*", int(note.started or 0)
    command = ["journalctl", "--user", unit, f"--since=@{since_s}", "--output=cat", "--lines=20", "--no-pager"]
    try:
        journal = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=3).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "oom-kill" in journal:
        return RAM_RAN_OUT
    signals = re.findall(r"code=(?:killed|dumped), status=\d+/([A-Z]+)", journal)
    return f"systemd says: signal {signals[-1]}, {SIGNALS.get(signals[-1], 'sent by someone')}." if signals else None


def from_kernel(run: Run, messages: Path) -> str | None:
    """A kill of the worker's process for lack of memory, by the kernel's log where it may be read."""
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
    except (OSError, ValueError, IndexError):  # BlockingIOError: the end of the log
        return None
    finally:
        os.close(log)
    return None


def from_disk(folder: Path) -> str | None:
    """A full disk of the run by now, so that its worker could not write its last event."""
    if shutil.disk_usage(folder).free >= LEAST_FREE_BYTES:
        return None
    return f"The disk of {folder} is full, so that it could not write down why it ended: free some space."


def from_container(events: Path) -> str | None:
    """Kills by the container's own limit of memory since the container started."""
    try:
        kills = re.search(r"^oom_kill ([1-9]\d*)$", events.read_text(), re.MULTILINE)
    except OSError:
        return None
    return (
        f"Most likely the RAM ran out: this container's OOM killer was at work ({kills[1]} so far)." if kills else None
    )


def restarted_s() -> float | None:
    """UTC seconds at which process 1 started: the boot of this machine, or the start of this container."""
    try:
        boot_s = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
        ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])  # field 22 of proc(5)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return boot_s + ticks / os.sysconf("SC_CLK_TCK")
