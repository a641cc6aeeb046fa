"""Every box over a screen, and the deliver screen, at two sizes of terminal: one focus, nothing cut off."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Static

from fitune.core.errors import UserError
from fitune.tui.app import FituneApp
from fitune.tui.deliver.options import GGUF_KINDS, HANDOFF_TARGETS
from fitune.tui.deliver.screen import DeliverScreen
from fitune.tui.text.help_pages import chat_help, deliver_help, watch_help
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog, PickDialog, PickSomeDialog
from fitune.tui.widgets.help_page import HelpScreen
from fitune.tui.widgets.leave import LeaveScreen
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.help import help_text
from fitune.tui.wizard.screens.preset import CARD_QUESTION
from tests.fake_worker import make_run
from tests.tui.test_snapshots import SIZES, is_scrolled, rows_cut
from tests.tui.watch.test_screen import shown, shows, until, watching
from tests.tui.wizard.wizard_kit import Wizard


def refuse(answer: str) -> None:
    raise UserError(f"{answer} won't do, for a reason that takes more than one line of this box to tell.", "Try again.")


BOXES: dict[str, tuple[Callable[[], Screen[Any]], str]] = {
    "help on a field": (lambda: HelpScreen(help_text("lora.r", Draft("8b-on-12gb"))), "Esc closes"),
    "help on a step": (lambda: HelpScreen(help_text("data", Draft())), "Typical mistake"),
    "help on a run": (lambda: HelpScreen(watch_help()), "Watching a run"),
    "help on its uses": (lambda: HelpScreen(deliver_help()), "Typical mistake"),
    "help in a chat": (lambda: HelpScreen(chat_help()), "Typical mistake"),
    "leave": (LeaveScreen, "Kill at once: what came after the last checkpoint is lost"),
    "ask": (lambda: AskDialog(CARD_QUESTION, "24", refuse), "Enter takes it, Esc goes back."),
    "pick": (lambda: PickDialog("For what?", HANDOFF_TARGETS), "the Modelfile that runs it in Ollama"),
    "pick some": (
        lambda: PickSomeDialog("Which files?", list(GGUF_KINDS.items())),
        "Space marks, Enter makes what is marked",
    ),
    "leave a push": (lambda: LeaveScreen("push"), "Kill at once; the adapter stays as it is"),
    "token": (lambda: AskDialog("There is no token for the Hub.", "", refuse, masked=True), "There is no token"),
    "confirm": (
        lambda: ConfirmDialog("Upload the adapter to the Hub?\nme/it\nPUBLIC: everyone", "Don't", "Upload"),
        "PUBLIC: everyone",
    ),
}


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", BOXES)
async def test_check_28_a_box_has_one_focus_and_cuts_nothing(
    wizard: Callable[..., Wizard], name: str, size: tuple[int, int]
) -> None:
    make, words = BOXES[name]
    app = wizard()
    async with app.run_test(size=size) as pilot:
        await until(pilot, shows(app, "Start a new fine-tune"))  # else it comes up over the box
        app.push_screen(make())
        for _ in range(2):
            await until(pilot, shows(app, words))
            assert app.focused is not None
            assert [each for each in app.screen.query("*") if each.has_focus] == [app.focused]
            assert app.screen.region.contains_region(app.focused.region)
            texts = [each for each in app.screen.query(Static) if each.region and not is_scrolled(each)]
            assert [(each.id, each.classes) for each in texts if rows_cut(each)] == []
            if name != "ask":
                break
            await pilot.press("enter")  # and with its error
            await pilot.pause()
            words = "ERROR 24 won't do"


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
async def test_checks_28_29_and_35_the_deliver_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "Use it", size) as (app, pilot):
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen) and "needs" in shown(app))
        await until(pilot, lambda: "the adapter is ready" in shown(app).splitlines()[0])
        keys = ["enter", "Do", "it", "space", "Scroll", "esc", "Back", "?", "Help", "^c", "Quit"]
        await until(pilot, lambda: shown(app).splitlines()[-1].split()[: len(keys)] == keys)
        focused = app.focused
        await pilot.resize_terminal(60, 15)
        await until(pilot, lambda: "terminal too small (need 80x24)" in shown(app))
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: "the adapter is ready" in shown(app))
        assert app.focused is focused


async def test_check_35_where_everything_lies_there_is_nothing_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("u")
        await until(pilot, lambda: "Do it" in shown(app))
        await pilot.press("end")
        await until(pilot, lambda: "Do it" not in shown(app))
        await pilot.press("up")
        await until(pilot, lambda: "Do it" in shown(app))


def has_keys(app: Wizard, wanted: bool) -> bool:
    return bool(app.screen.query("HelpPanel")) is wanted


def is_shown(app: FituneApp, screen: Screen[Any], wanted: bool) -> bool:
    return (app.screen is screen) is wanted


async def test_the_list_of_keys_goes_away_as_it_came(wizard: Callable[..., Wizard]) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        for what in ("Show", "Hide"):
            (keys,) = (each for each in app.get_system_commands(app.screen) if each.title == "Keys")
            assert keys.help.startswith(what)
            keys.callback()
            await until(pilot, partial(has_keys, app, what == "Show"))


async def test_check_08_a_run_and_its_uses_are_explained_too(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "Use it") as (app, pilot):
        for key, words, then in (("question_mark", "Watching a run", "u"), ("f1", "What to do with it", "escape")):
            below = app.screen
            await pilot.press(key)
            await until(pilot, shows(app, words))
            await pilot.press("escape")
            await until(pilot, partial(is_shown, app, below, True))
            await pilot.press(then)
            await until(pilot, partial(is_shown, app, below, False))
