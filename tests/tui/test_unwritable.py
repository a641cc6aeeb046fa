"""Where nothing can be written, fitune says so and goes on: the wizard, its prompts, a wish to stop, its own faults."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from fitune.tui.plain import wizard as plain
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.widgets.help_page import HelpScreen
from fitune.tui.wizard.screens.start import StartScreen
from tests.fake_worker import make_run, start
from tests.tui.watch.test_screen import shown, until, watching
from tests.tui.wizard.wizard_kit import Wizard, go_to, settle

At = Callable[..., Wizard]


@pytest.fixture
def no_home(this_machine: object, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """FITUNE_HOME below a file, where no folder can be made: root may write everywhere else."""
    (home.parent / "file").touch()
    place = str(home.parent / "file" / "home")
    monkeypatch.setenv("FITUNE_HOME", place)
    return place


async def test_the_wizard_goes_on_without_keeping_its_answers(wizard: At, no_home: str) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await go_to(pilot, "edit")
        assert "Your answers can't be kept" in app.shown()
        await pilot.press("down", "down", "1", "ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert isinstance(app.screen, ConfirmDialog)
        assert "Set FITUNE_HOME to a folder" in app.screen.question


def test_the_prompts_go_on_without_keeping_their_answers(
    no_home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
    assert plain.run_plain() == 130
    said = capsys.readouterr().err
    assert "WARN Your answers can't be kept" in said
    assert "Settings (3 of 5)" in said


async def test_a_fault_that_cannot_be_kept_is_told(
    wizard: At, no_home: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: StartScreen, event: object) -> None:
        raise RuntimeError("of fitune")

    monkeypatch.setattr(StartScreen, "on_start_screen_looked", broken)
    with pytest.raises(RuntimeError):
        async with wizard().run_test(size=(80, 24)) as pilot:
            await settle(pilot)
    printed = "".join(capsys.readouterr())
    assert "It can't be kept in" in printed
    assert "RuntimeError: of fitune" in printed


@pytest.mark.parametrize("keys", [("s", "right", "enter"), ("ctrl+c", "down", "enter")])
async def test_a_stop_that_cannot_be_asked_for_is_told(tmp_path: Path, keys: tuple[str, ...]) -> None:
    run = make_run(tmp_path)
    worker = start(run, "steps:9999", "--rate", "20")
    os.symlink(tmp_path / "not" / "there", run / "stop")
    try:
        async with watching(run, "training   step") as (app, pilot):
            await pilot.press(*keys)
            await until(pilot, lambda: "can't be written" in shown(app))
    finally:
        Run(run).kill()
        worker.wait()


async def test_ctrl_c_on_a_page_of_help_keeps_what_was_typed_below_it(at_step: At, home: Path) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "down", "down", "6", "4", "?")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "Your answers are kept until next time" in app.shown())
        await pilot.press("right", "enter")
    assert app.return_code == 0
    assert '"lora.r": "64"' in (home / "draft.json").read_text()
