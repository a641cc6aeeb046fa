"""Trainings that go on after a reboot: the unit that systemd gets, and what is told where it refuses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fitune.core import at_boot
from fitune.core.errors import UserError
from tests.tui.conftest import Fitune


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for systemd's tools, which write down what they are asked; they refuse what stands in `refuses`."""
    tools, asked = tmp_path / "bin", tmp_path / "asked"
    tools.mkdir()
    for name in ("systemctl", "loginctl"):
        tool = tools / name
        tool.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {asked}\n'
            f'if [ -e {tmp_path}/refuses ] && echo "$*" | grep -q "$(cat {tmp_path}/refuses)"; then\n'
            'echo "Failed to connect to bus" >&2; exit 1; fi\n'
        )
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return asked


def test_on_writes_a_unit_that_resumes_all_runs_of_this_home(asked: Path, fitune: Fitune, fitune_home: Path) -> None:
    status, _, err = fitune("boot", "on")
    assert status == 0
    assert err.startswith("On: after a reboot trainings and the queue")
    text = at_boot.unit_path().read_text()
    assert f'Environment="FITUNE_HOME={fitune_home}"' in text
    assert text.count("-P -m fitune.tui resume --all") == 1
    assert asked.read_text().splitlines() == [
        "loginctl enable-linger",
        "systemctl --user daemon-reload",
        f"systemctl --user enable {at_boot.UNIT}",
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_itself_finds_no_fault_in_the_unit(asked: Path, tmp_path: Path) -> None:
    at_boot.switch_on(tmp_path / 'a "home" of 100 % $HOME')
    command = ["systemd-analyze", "--user", "verify", str(at_boot.unit_path())]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert at_boot.UNIT not in done.stderr + done.stdout
    assert done.returncode == 0


@pytest.mark.usefixtures("asked")
def test_off_leaves_nothing(fitune: Fitune) -> None:
    fitune("boot", "on")
    assert fitune("boot", "off") == (
        0,
        "",
        "Off: after a reboot trainings and the queue wait for: fitune resume --all\n",
    )
    assert not at_boot.is_on()
    assert fitune("boot")[2].startswith("Off")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("refused", ["daemon-reload", "enable fitune", "enable-linger"])
def test_a_refusal_is_told_and_leaves_nothing(refused: str, fitune: Fitune, tmp_path: Path) -> None:
    (tmp_path / "refuses").write_text(refused)
    status, _, err = fitune("boot", "on")
    assert status == 2
    assert "failed: Failed to connect to bus" in err
    assert at_boot.BY_HAND in err
    assert not at_boot.is_on()


def test_without_systemd_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no systemd") as told:
        at_boot.switch_on(tmp_path)
    assert told.value.hint == at_boot.BY_HAND
