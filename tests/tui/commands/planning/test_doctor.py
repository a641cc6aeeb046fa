"""`fitune doctor`: its lines, its document, and an exit status that a script can go by."""

import json

import pytest

from fitune.core.machine import doctor, host
from fitune.core.machine.check import Check
from fitune.core.machine.host import Machine
from tests.tui.conftest import Fitune

CHECKS = [Check("RAM", "ok", "60 GiB."), Check("Hub", "warn", "Away\x1b[2J.", "Wait."), Check("GPU", "fail", "Sick.")]


@pytest.mark.parametrize(("found", "expected"), [(CHECKS, 1), (CHECKS[:2], 0)], ids=["to repair", "a warning"])
def test_only_what_must_be_repaired_is_told_by_the_exit_status(
    fitune: Fitune, monkeypatch: pytest.MonkeyPatch, found: list[Check], expected: int
) -> None:
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine(gpu_state="none"))
    monkeypatch.setattr(doctor, "run_checks", lambda machine: found)
    status, out, _ = fitune("doctor")
    assert status == expected
    assert out.splitlines()[:3] == ["OK   RAM: 60 GiB.", "WARN Hub: Away␛[2J.", "     Wait."]
    status, out, _ = fitune("doctor", "--json")
    assert status == expected
    document = json.loads(out)
    assert document["checks"][1] == {"name": "Hub", "status": "warn", "text": "Away\x1b[2J.", "fix": "Wait."}
    assert document["machine"]["gpu_state"] == "none"
    assert document["ok"] is (status == 0)
