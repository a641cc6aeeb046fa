"""The queue on the screen: what is in it, and what its keys do to the entry in hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core import queue
from fitune.core.queue import Addition
from fitune.core.recipe import parse
from fitune.tui.commands.queueing.queue import progress
from fitune.tui.home.queue_screen import QueueScreen
from fitune.tui.widgets.dialogs import ConfirmDialog
from tests.fake_worker import make_run
from tests.tui.payloads import OBEYED, PAYLOADS
from tests.tui.watch.test_screen import until
from tests.tui.wizard.wizard_kit import Wizard, settle

New = Callable[..., Wizard]
NASTY = " ".join(PAYLOADS)


@pytest.fixture
def four(home: Path, fakes: None) -> Path:
    """A queue: one that has failed, one at work no more, two that wait."""
    made = [parse({"model": {"id": "a/b"}, "data": {"source": "c/d"}, "run": {"name": f"run-{n}"}}, "") for n in "abcd"]
    queue.add(made, Addition(source=NASTY))

    def told(before: queue.Queue) -> queue.Queue:
        failed, begun, *rest = before.entries
        failed = replace(failed, began=1.0, ended=2.0, end="failed", said=NASTY)
        return replace(before, entries=(failed, replace(begun, began=3.0), *rest))

    queue.edit(told)
    make_run(home, "run-a", "oom")
    make_run(home, "run-b", "killed")
    return home


def states(app: Wizard) -> dict[str, str]:
    lines = (line.split() for line in app.shown().splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1 and words[0].startswith("run-")}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_home_leads_to_the_queue_and_back(wizard: New, four: Path, size: tuple[int, int]) -> None:
    app = wizard()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        assert "The queue: 1 failed, 1 interrupted, 2 waiting" in app.shown()
        await pilot.press("down", "enter")
        await settle(pilot)
        await until(pilot, lambda: "Nobody runs it now." in app.shown())
        assert states(app) == {"run-a": "failed", "run-b": "interrupted", "run-c": "waiting", "run-d": "waiting"}
        await pilot.press("up")
        await settle(pilot)
        assert "␛]52;c;" in app.shown()
        assert not OBEYED.search(app.shown())
        await pilot.press("escape")
        await settle(pilot)
        assert "What do you want to do?" in app.shown()


async def test_what_waits_is_moved_and_taken_out(wizard: New, four: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await until(pilot, lambda: "run-d" in app.shown() and isinstance(app.screen, QueueScreen))
        await pilot.press("end", "e")
        await until(pilot, lambda: [entry.name for entry in queue.read().entries][2:] == ["run-d", "run-c"])
        await until(pilot, lambda: list(states(app))[2:] == ["run-d", "run-c"])
        await pilot.press("l")
        await until(pilot, lambda: list(states(app))[2:] == ["run-c", "run-d"])
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: list(states(app)) == ["run-a", "run-b", "run-c"])
        await pilot.press("home", "e", "x")
        await until(pilot, lambda: list(states(app)) == ["run-b", "run-c"])
        assert [entry.name for entry in queue.read().entries] == ["run-b", "run-c"]


async def test_enter_watches_the_run_of_an_entry_that_has_one(wizard: New, four: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await until(pilot, lambda: "run-d" in app.shown() and isinstance(app.screen, QueueScreen))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "run-d has no run yet." in app.shown())
        await pilot.press("home", "enter")
        await until(pilot, lambda: app.begun is not None)
        assert app.begun
        assert app.begun.name == "run-a"


async def test_a_damaged_file_is_told(wizard: New, four: Path) -> None:
    (queue.folder() / "queue.json").write_text("{")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "can't be read" in app.shown()
        await pilot.press("q")
        await until(pilot, lambda: "Remove it to begin with an empty queue" in " ".join(app.shown().split()))


@pytest.mark.parametrize(
    ("after", "told"),
    [([None, 4e9], "a card, or the processor, is free"), ([5e9, 4e9], "2096-10-02"), ([1.0, 4e9], "a card, or")],
)
def test_a_queue_whose_entries_may_not_begin_yet_says_when(
    four: Path, monkeypatch: pytest.MonkeyPatch, after: list[float | None], told: str
) -> None:
    monkeypatch.setattr(queue, "runner_pid", lambda: 4711)

    def later(before: queue.Queue) -> queue.Queue:
        return replace(before, entries=tuple(map(lambda each, at: replace(each, after=at), before.entries[2:], after)))

    queue.edit(later)
    assert progress(queue.read()).startswith(f"The queue waits until {told}")


async def test_a_queue_that_waits_for_a_card_says_so(wizard: New, four: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "runner_pid", lambda: 4711)
    assert progress(queue.read()).startswith("The queue waits until a card, or the processor, is free.")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await until(pilot, lambda: "It waits until a card, or the processor, is free" in app.shown())
