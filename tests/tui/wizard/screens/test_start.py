"""The first step: what is wrong with the machine is a sentence with what to do, and answers of last time go on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.units import GIB
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import restore
from fitune.tui.wizard.options import machine_lines, start_choices
from tests.fake_worker import make_run, start
from tests.tui.wizard.wizard_kit import CARD, Wizard, go_to, settle

New = Callable[..., Wizard]
FREE = replace(CARD, index=1, uuid="GPU-other", name="NVIDIA T4", allowed=False)
BUSY = replace(CARD, free_bytes=GIB, used_bytes=11 * GIB)
TROUBLES = {
    "none": ((), "No NVIDIA card was found.", "fitune demo shows the way on a processor.", "No NVIDIA card was found."),
    "driver": ((), "The NVIDIA driver does not answer.", "Reboot, then: fitune doctor", "Reboot, then: fitune doctor"),
    "busy": ((BUSY,), "", "", "NVIDIA L4: 1.0 GiB of 12.0 GiB free"),
    "not ours": ((CARD, FREE), "", "", "NVIDIA T4: 11.5 GiB of 12.0 GiB free (not for you)"),
    "one is lost": ((CARD,), "Card 1: GPU is lost.", "Reboot the machine.", "Card 1: GPU is lost."),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_check_38_a_machine_in_trouble_is_told_with_what_to_do_and_the_wizard_goes_on(
    wizard: New, this_machine: Machine, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    cards, message, hint, said = TROUBLES[trouble]
    found = replace(this_machine, gpus=cards, gpu_message=message, gpu_hint=hint)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for line in (said, message, hint):
            assert line in app.shown()
        await go_to(pilot, "preset")
        first = next(line for line in app.shown().splitlines() if "135M on anything" in line or "8B on 12 GB" in line)
        assert ("ERROR" in first) == (trouble == "busy")
    assert said in machine_lines(found), "and so in the prompts"


def test_a_merge_that_lives_is_offered_as_a_merge(home: Path) -> None:
    run = make_run(home, told="ok")
    worker = start(run, "ok", "--rate", "500", "--then", "hang")
    (run / "lock").write_text('{"job": "merge"}')
    said = start_choices(home, begun=False)[0].text
    worker.kill()
    worker.wait()
    assert said.startswith("Watch run-a: merge ")
    assert "step" not in said


@pytest.mark.parametrize("step", [step.name for step in steps.STEPS[1:]])
async def test_check_22_the_next_wizard_goes_on_at_the_step_where_the_last_was_killed(wizard: New, step: str) -> None:
    async with wizard().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, step)
    again = wizard()
    async with again.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert f"Go on with your last answers, at {steps.named(step).title}" in again.shown()
        await pilot.press("enter")
        await settle(pilot)
        assert step == again.step.NAME


async def test_answers_that_were_left_at_the_first_step_go_on_behind_it(wizard: New, home: Path) -> None:
    async with wizard().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "preset")
        await pilot.press("escape")
        await settle(pilot)
    again = wizard()
    async with again.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Go on with your last answers, at Preset" in again.shown()
        await pilot.press("enter")
        await settle(pilot)
        assert again.step.NAME == "preset"


async def test_who_looks_at_a_run_first_keeps_the_answers_of_last_time(wizard: New, home: Path) -> None:
    async with wizard().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "data")
    before = restore(home)
    make_run(home, told="ok")
    again = wizard()
    async with again.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "run-a" in again.shown()
        await pilot.press("up", "enter")  # round to the last one
        await settle(pilot)
    assert again.begun is not None
    assert before is not None
    assert restore(home) == before
