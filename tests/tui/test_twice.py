"""While something slow is being started, a key pressed again, or another one, neither starts it twice nor loses it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.widgets import Button

from fitune.core import jobs, runs
from fitune.core.jobs import Begun
from fitune.core.recipe.fields import Recipe
from fitune.tui.app import FituneApp
from fitune.tui.deliver.screen import DeliverScreen
from fitune.tui.watch.screen import WatchScreen
from fitune.tui.widgets.help_page import HelpScreen
from fitune.tui.wizard.screens.review import ReviewScreen
from tests.fake_worker import make_run
from tests.tui.watch.test_screen import shown, until, watching
from tests.tui.wizard.wizard_kit import Wizard, settle

At = Callable[..., Wizard]


class Slow:
    """Stands for a start that takes until `go` is set."""

    def __init__(self, comes_of_it: Callable[..., Any] = lambda *_, **__: "setsid") -> None:
        self.comes_of_it, self.go, self.calls = comes_of_it, threading.Event(), 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls += 1
        self.go.wait(60)
        return self.comes_of_it(*args, **named)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """What takes the place of jobs.start, jobs.merge and jobs.begin."""

    def begun(recipe: Any, *_: Any, **__: Any) -> Any:
        made = isinstance(recipe, Recipe)
        return Begun(runs.create(recipe, runs.home()), "setsid", "", ()) if made else "setsid"

    stand_in = Slow(begun)
    for name in ("start", "merge", "begin"):
        monkeypatch.setattr(jobs, name, stand_in)
    yield stand_in
    stand_in.go.set()


def top(app: App[int]) -> type:
    return type(app.screen)


async def test_a_merge_is_started_once_by_two_enters_and_then_watched(tmp_path: Path, slow: Slow) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("u")
        await until(pilot, lambda: "of disk" in shown(app) or "side by side" in shown(app))
        await pilot.press("down")
        await until(pilot, lambda: "of RAM" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: slow.calls == 1)
        await pilot.press("enter", "?")
        await until(pilot, lambda: top(app) is HelpScreen)
        slow.go.set()
        await until(pilot, lambda: top(app) is WatchScreen)
        assert slow.calls == 1
        assert not any(isinstance(screen, DeliverScreen) for screen in app.screen_stack)


async def test_a_run_goes_on_once_however_often_it_is_asked_to(tmp_path: Path, slow: Slow) -> None:
    run = make_run(tmp_path, told="killed")
    (run / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    async with watching(run, "Go on from step 30") as (app, pilot):
        await pilot.press("r")
        await until(pilot, lambda: slow.calls == 1)
        await pilot.press("r", "r")
        assert slow.calls == 1
        slow.go.set()
        assert isinstance(app.screen, WatchScreen)
        screen = app.screen
        await until(pilot, lambda: not screen.resuming)
        await pilot.press("r")
        await until(pilot, lambda: slow.calls == 2)


async def test_the_first_step_goes_on_with_a_run_once_and_watches_it_from_below_help(
    wizard: At, home: Path, slow: Slow
) -> None:
    (make_run(home, told="killed") / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "r")
        await until(pilot, lambda: slow.calls == 1)
        await pilot.press("r", "?")
        await until(pilot, lambda: top(app) is HelpScreen)
        slow.go.set()
        await until(pilot, lambda: app.begun is not None)
    assert slow.calls == 1


async def test_there_is_no_way_back_from_a_training_that_is_being_started(at_step: At, slow: Slow) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: slow.calls == 1 and app.screen.query_one(Button).has_class("-busy"))
        assert "esc Back" not in app.shown()
        await pilot.press("escape", "enter")
        assert top(app) is ReviewScreen
        await pilot.press("?")
        await until(pilot, lambda: top(app) is HelpScreen)
        slow.go.set()
        await until(pilot, lambda: app.begun is not None)
    assert slow.calls == 1
    assert isinstance(app, FituneApp)
