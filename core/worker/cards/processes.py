"""The processes of a training on several cards. The worker itself is rank 0: it starts the others and hears from them.

Rank 0 alone holds the lock and writes events. The others write theirs into a pipe, of which rank 0 keeps what it can't
know: the memory of their cards, and how one failed. All of them end with the first that ends early: no rank can go on
alone, and none may be left holding memory.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Never

from fitune.core.runs import EventLog, Failed, Memory, Run
from fitune.core.runs.event_log import parse_line
from fitune.core.worker.cards import rank

ECHO_S = 3.0
"""A rank that dies makes the others fail at once, too; within this time rank 0 has heard of the true cause."""
END_S = 60.0
"""The time that the other ranks have to end after rank 0."""
PR_SET_PDEATHSIG = 1


class OtherRanks:
    """The ranks from 1, as rank 0 sees them."""

    def __init__(self, run: Run, job: str, ranks: int, log: EventLog) -> None:
        """Start them. From now on this process is rank 0 by its environment."""
        port = _free_port()
        # As many threads in all as one process would have: more of them wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
        self.log, self._told = log, threading.Lock()
        self._processes = [_start(run, job, number, ranks, port) for number in range(1, ranks)]
        os.environ.update(rank.environment(0, ranks, port))
        for number, process in enumerate(self._processes, 1):
            threading.Thread(target=self._listen, args=(number, process), daemon=True).start()

    def wait_for_end(self) -> None:
        """Wait until all have ended, as they do when the training has."""
        deadline = time.monotonic() + END_S
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def fail(self, failed: Failed) -> Never:
        """End the training with the failure of rank 0, unless another rank failed first."""
        time.sleep(ECHO_S)
        self._end(failed)

    def _listen(self, number: int, process: "subprocess.Popen[bytes]") -> None:
        """Pass on what a rank tells, until it ends."""
        failed = None
        assert process.stdout
        for line in process.stdout:
            event = parse_line(line)
            if event and isinstance(event.data, Failed):
                failed = replace(event.data, message=f"On card {number + 1}: {event.data.message}")
            elif event and isinstance(event.data, Memory):
                self.log.write(replace(event.data, card=number))
        if status := process.wait():
            self._end(failed or _lost(number, status))

    def _end(self, failed: Failed) -> Never:
        """Kill the others, write the last event, and end this process, in whatever computation it waits for them."""
        self._told.acquire()  # for ever: the first tells
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self.log.write(failed)
        sys.stderr.flush()
        os._exit(1)


def _start(run: Run, job: str, number: int, ranks: int, port: int) -> "subprocess.Popen[bytes]":
    """Start a rank. Its events come through its standard output; what it prints goes to the log of the run."""
    command = [sys.executable, "-P", "-m", "fitune.core.worker", str(run.path), job, str(os.getpid())]
    environment = {**os.environ, **rank.environment(number, ranks, port)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def be_rank(parent_pid: int, job: str, work: Callable[[EventLog], int]) -> Never:
    """Do the work of a rank from 1, as long as rank 0 lives. Its events go to rank 0."""
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # rank 0 decides, and tells by the stop file
        signal.signal(name, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    log = EventLog(Path("/dev/fd/1"), job)
    os.dup2(2, 1)
    status = work(log)
    sys.stderr.flush()
    os._exit(status)  # with other ranks gone, torch's own end may wait for them


def _free_port() -> int:
    """A port of this machine that nobody listens at now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _lost(number: int, status: int) -> Failed:
    """The failure of a rank that ended without a word."""
    how = f"exit status {status}" if status > 0 else f"signal {-status} ({signal.strsignal(-status)})"
    message = f"The process of card {number + 1} ended with {how}, so that the others had to end, too."
    hint = "Its last checkpoint is whole. Go on from it: fitune resume."
    if status == -signal.SIGKILL:
        hint += " If nobody killed it, the host's RAM ran out (dmesg tells): each card's process needs its own."
    return Failed(kind="killed", message=message, hint=hint)
