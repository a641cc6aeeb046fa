"""`fitune doctor`: check this machine, and say how to fix what is wrong."""

import argparse
from dataclasses import asdict, dataclass

from fitune.core import runs
from fitune.core.errors import ExitCode
from fitune.core.machine import Machine, doctor, host
from fitune.core.machine.check import Check
from fitune.tui.text import as_ascii_json, clean

MARKS = {"ok": "OK  ", "warn": "WARN", "fail": "FAIL"}


@dataclass(frozen=True, slots=True)
class DoctorDocument:
    """The answer of `fitune doctor --json`."""

    ok: bool
    """False: something would keep a training from running."""
    machine: Machine
    """The machine: cards, memory, disk and versions."""
    checks: tuple[Check, ...]
    """The result of each check."""


def run(args: argparse.Namespace) -> int:
    """Exit status: 1 if something would keep a training from running, else 0."""
    machine = host.detect(runs.home() / "runs")
    checks = doctor.run_checks(machine)
    if args.json:
        print(as_ascii_json(asdict(DoctorDocument(not doctor.failed(checks), machine, tuple(checks)))))
    else:
        for check in checks:
            print(f"{MARKS[check.status]} {check.name}: {clean(check.text)}")
            if check.fix:
                print(f"     {clean(check.fix)}")
    return ExitCode.FAILED if doctor.failed(checks) else ExitCode.DONE
