"""Start the worker as a process that outlives its terminal: a session of its own, no pipe, no terminal."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from fitune.core.errors import ExitCode, UserError
from fitune.core.runs.event_log import Tail
from fitune.core.runs.run import Run
from fitune.core.runs.state import RunState, fold

WAIT_FOR_LOCK_S = 20.0
"""A worker takes its lock before it imports anything large: 0.1 s here, more on a slow network disk."""


def spawn(run: Run, job: str) -> str:
    """Start the worker on a run and wait until it lives. Returns the way it was started: "setsid" or "systemd".

    Raises UserError if the worker did not come up.
    """
    events = Tail(run.events)
    events.offset = run.events.stat().st_size if run.events.exists() else 0  # after the end of an earlier worker
    unit = f"fitune-{run.name}-{job}-{os.getpid()}" if _lingering_user_manager() else None
    command = _command(run, job)
    worker = _in_own_session(run, _as_unit(run, unit, command) if unit else command)
    if not _is_up(run, worker, events):
        worker.kill()
        if unit:  # that was systemd-run alone
            _ask("systemctl", "--user", "kill", "--signal=KILL", unit)
        raise UserError("The worker did not come up.", f"See {run.log}", ExitCode.FAILED)
    return "systemd" if unit else "setsid"


def _command(run: Run, job: str) -> list[str]:
    # -P: a folder named fitune/ where the user stands must not shadow ours.
    return [sys.executable, "-P", "-m", "fitune.core.worker", str(run.path), job]


def _in_own_session(run: Run, command: list[str]) -> subprocess.Popen[bytes]:
    """The command in a session of its own, with the run's log as all its output and nothing as its input."""
    log = os.open(run.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)  # a pipe would block
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    finally:
        os.close(log)


def _as_unit(run: Run, unit: str, command: list[str]) -> list[str]:
    """The command as a transient unit of the user's manager: it outlives a logout with KillUserProcesses=yes."""
    output = [f"--property=Standard{stream}=append:{run.log}" for stream in ("Output", "Error")]
    # By name only: systemd-run then takes the value from its environment, and no token stands in an argument list.
    # It refuses the whole unit over a shell function (BASH_FUNC_x%%) or a control character (LESS_TERMCAP_mb).
    names = [
        name
        for name, value in os.environ.items()
        if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) and value.isprintable()
    ]
    environment = [f"--setenv={name}" for name in names]
    options = [f"--unit={unit}", "--collect", "--quiet", "--same-dir"]
    return ["systemd-run", "--user", *options, *output, *environment, "--", *command]


def _lingering_user_manager() -> bool:
    """True if a systemd user manager runs that survives the logout of its user."""
    if not (shutil.which("systemd-run") and shutil.which("loginctl")):
        return False
    linger = _ask("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value") or ""
    return linger.strip() == "yes" and _ask("systemctl", "--user", "show-environment") is not None


def _ask(*command: str) -> str | None:
    """The output of one of systemd's tools; None if it fails, or takes longer than 3 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=3)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _is_up(run: Run, worker: subprocess.Popen[bytes], events: Tail) -> bool:
    """Wait until the worker takes the lock, or its job is over already; False if it does not in WAIT_FOR_LOCK_S.

    Raises UserError if the worker ends instead.
    """
    deadline, state = time.monotonic() + WAIT_FOR_LOCK_S, RunState()
    while True:
        ended = worker.poll() not in (None, 0)  # 0 is systemd-run's: the unit was started
        if run.holder_pid() is not None or fold(events.read(), state).end:
            return True
        if ended:
            raise UserError(f"The worker ended at once: {_last_line(run.log)}", f"See {run.log}", ExitCode.FAILED)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "its log is empty"
