"""`fitune boot on|off`: whether trainings and the queue go on by themselves after a reboot."""

import argparse
import sys

from fitune.core import at_boot, runs
from fitune.core.errors import ExitCode
from fitune.tui.text import clean


def run(args: argparse.Namespace) -> int:
    """Exit status 0. Raises UserError if systemd refuses, or if there is none."""
    if args.switch == "on":
        at_boot.switch_on(runs.home())
    elif args.switch == "off":
        at_boot.switch_off()
    told = (
        f"On: after a reboot trainings and the queue of {runs.home()} go on by themselves ({at_boot.unit_path()})."
        if at_boot.is_on()
        else "Off: after a reboot trainings and the queue wait for: fitune resume --all"
    )
    print(clean(told, 1000), file=sys.stderr)
    return ExitCode.DONE
