"""Start the worker as a process that outlives its terminal: a session of its own, no pipe, no terminal."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from fitune.core.errors import ExitCode, UserError
from fitune.core.runs.event_log import Tail
from fitune.core.runs.run import Run
from fitune.core.runs.state import RunState, fold
from fitune.core.runs.store import home

WAIT_FOR_LOCK_S = 20.0
"""A worker takes its lock before it imports anything large: 0.1 s here, more on a slow network disk."""
SLOW_TO_COMPILE = "unsloth"
"""The package that takes longest to compile, with all that it imports."""


def spawn(run: Run, job: str) -> str:
    """Start the worker on a run and wait until it lives. Returns the way it was started: "setsid" or "systemd".

    Raises UserError if the worker did not come up.
    """
    with suppress(OSError, UserError):  # without a folder of fitune's own that can be written to it only takes longer
        _keep_bytecode()
    events = Tail(run.events)
    events.offset = run.events.stat().st_size if run.events.exists() else 0  # after the end of an earlier worker
    apart = start_apart(_command(run, job), run.log, f"{run.name}-{job}")
    if not _is_up(run, apart, events):
        apart.kill()
        raise UserError("The worker did not come up.", f"See {run.log}", ExitCode.FAILED)
    return apart.how


@dataclass(frozen=True, slots=True)
class Apart:
    """A process that was started to outlive its terminal."""

    process: subprocess.Popen[bytes]
    """It, or the systemd-run that had it started."""
    unit: str | None
    """The unit of the user's manager in which it runs."""

    @property
    def how(self) -> str:
        """The way it was started: "setsid" or "systemd"."""
        return "systemd" if self.unit else "setsid"

    @property
    def has_failed(self) -> bool:
        """True if it ended otherwise than systemd-run does, which exits with 0 once the unit was started."""
        return self.process.poll() not in (None, 0)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        if self.unit:  # that was systemd-run alone
            _ask("systemctl", "--user", "kill", "--signal=KILL", self.unit)


def start_apart(command: list[str], log: Path, name: str) -> Apart:
    """Start a command so that it outlives its terminal, and a logout where the user's manager does.

    log: the file that all its output is appended to. name: of its unit, as far as it has one.
    """
    unit = f"fitune-{name}-{os.getpid()}" if _lingering_user_manager() else None
    return Apart(_in_own_session(log, _as_unit(log, unit, command) if unit else command), unit)


def _keep_bytecode() -> None:
    """Let the Python processes that are started from now on keep what they compile in fitune's folder, where they can't
    keep it beside the sources: containers often forbid it by PYTHONDONTWRITEBYTECODE, and packages may be another's.

    On a machine with an H200 `import unsloth` took 27 s without, and 17 s with it (torch 2.11.0, unsloth 2026.10.7,
    2026-11-30). Raises OSError or UserError without such a folder.
    """
    spec = find_spec(SLOW_TO_COMPILE)
    if spec is None or spec.origin is None or "PYTHONPYCACHEPREFIX" in os.environ:
        return
    compiled = Path(cache_from_source(spec.origin))
    beside = compiled.parent if compiled.parent.exists() else compiled.parent.parent
    if compiled.exists() or (not sys.dont_write_bytecode and os.access(beside, os.W_OK)):
        return
    folder = home() / "bytecode"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:  # who can write there decides what the workers do
        return
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _command(run: Run, job: str) -> list[str]:
    # -P: a folder named fitune/ where the user stands must not shadow ours.
    return [sys.executable, "-P", "-m", "fitune.core.worker", str(run.path), job]


def _in_own_session(log: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """The command in a session of its own, with the log as all its output and nothing as its input."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o600)  # a pipe would block
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    finally:
        os.close(output)


def _as_unit(log: Path, unit: str, command: list[str]) -> list[str]:
    """The command as a transient unit of the user's manager: it outlives a logout with KillUserProcesses=yes."""
    output = [f"--property=Standard{stream}=append:{log}" for stream in ("Output", "Error")]
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


def _is_up(run: Run, worker: Apart, events: Tail) -> bool:
    """Wait until the worker takes the lock, or its job is over already; False if it does not in WAIT_FOR_LOCK_S.

    Raises UserError if the worker ends instead.
    """
    deadline, state = time.monotonic() + WAIT_FOR_LOCK_S, RunState()
    while True:
        ended = worker.has_failed
        if run.holder_pid() is not None or fold(events.read(), state).end:
            return True
        if ended:
            raise UserError(f"The worker ended at once: {last_line(run.log)}", f"See {run.log}", ExitCode.FAILED)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def last_line(log: Path) -> str:
    """The last line of a log, as far as it is needed in a message."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "its log is empty"
