"""Resume trainings and the queue when the machine starts: a unit of the user's systemd manager.

It runs `fitune resume --all`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fitune.core.errors import UserError
from fitune.core.files import write_atomically

UNIT = "fitune-resume.service"
ASK_S = 10.0
BY_HAND = "Instead, after each reboot: fitune resume --all"
TEXT = """\
# Written by `fitune boot on`, removed by `fitune boot off`.
[Unit]
Description=Resume the trainings and the queue that ran when this machine went down

[Service]
Type=oneshot
{environment}
ExecStart={python} -P -m fitune.tui resume --all
# The trainings go on after this command has ended.
KillMode=process

[Install]
WantedBy=default.target
"""


def unit_path() -> Path:
    """The unit's file, where systemd looks for a user's own."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / UNIT


def is_on() -> bool:
    """True if trainings go on by themselves after a reboot."""
    return unit_path().exists()


def switch_on(home: Path) -> None:
    """Write and enable the unit for the runs of a home, and let the user's manager start without a login.

    Raises UserError if this machine's systemd does not take it; no unit is left behind then.
    """
    if not (shutil.which("systemctl") and shutil.which("loginctl")):
        raise UserError("This machine has no systemd, which would resume trainings.", BY_HAND)
    _ask("loginctl", "enable-linger")
    path = unit_path()
    text = TEXT.format(python=_quoted(sys.executable).replace("$", "$$"), environment=_environment(home))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}.", BY_HAND) from None
    try:
        _ask("systemctl", "--user", "daemon-reload")
        _ask("systemctl", "--user", "enable", UNIT)
    except UserError:
        path.unlink(missing_ok=True)
        raise


def switch_off() -> None:
    """Disable and remove the unit. Raises UserError if systemd refuses; no unit at all is no error."""
    if not is_on():
        return
    _ask("systemctl", "--user", "disable", UNIT)
    unit_path().unlink(missing_ok=True)
    _ask("systemctl", "--user", "daemon-reload")


def _environment(home: Path) -> str:
    """Where the runs and the downloaded models lie: the unit does not see the user's shell."""
    places = {"FITUNE_HOME": str(home), **{name: os.environ[name] for name in ("HF_HOME",) if name in os.environ}}
    return "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in places.items())


def _quoted(text: str) -> str:
    """A word of a unit file, with what systemd would replace in it escaped (systemd.service(5), systemd.syntax(7))."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _ask(*command: str) -> None:
    """Run one of systemd's tools. Raises UserError with what it says if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ASK_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"{' '.join(command)} gave no answer in {ASK_S:.0f} s.", BY_HAND) from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise UserError(f"{' '.join(command)} failed: {said}", BY_HAND)
