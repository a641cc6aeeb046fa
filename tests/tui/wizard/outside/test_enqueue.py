"""From the review into the queue: the recipe waits there, a push is asked for, and a second press adds nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core import queue
from fitune.core.jobs import training
from fitune.tui.widgets.dialogs import ConfirmDialog
from tests.tui.wizard.wizard_kit import Wizard, settle, until

At = Callable[..., Wizard]


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training stack is here, and the size of each model not known."""
    monkeypatch.setattr(training, "require_training_stack", lambda: None)
    monkeypatch.setattr(training, "foresee", lambda *_: None)


async def test_the_recipe_waits_in_the_queue_once(at_step: At) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl", "run.name": "mine"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "q Queue" in app.shown().splitlines()[-1]
        await pilot.press("q")
        await until(app, "OK mine waits in the queue. Start the queue at home: q, then s.")
        await pilot.press("q")
        await until(app, "OK It is in the queue already.")
        assert app.step.NAME == "review"
    (entry,) = queue.read().entries
    assert entry.parsed().data.source.endswith("/rows.jsonl")
    assert entry.source == "the wizard"


async def test_a_push_is_asked_for_first(at_step: At) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl", "deliver.push_repo": "me/mine"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await until(app, "will be pushed to")
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("enter")
        await settle(pilot)
        assert queue.read().entries == ()
        await pilot.press("q", "right", "enter")
        await until(app, "waits in the queue")
    assert len(queue.read().entries) == 1


async def test_what_is_not_whole_is_not_added(at_step: At) -> None:
    app = at_step("review", edits={})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await settle(pilot)
        assert "ERROR" in app.shown()
    assert queue.read().entries == ()


async def test_a_reason_of_the_machine_is_told(at_step: At) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl", "run.gpu": "7"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await until(app, "is no card of this machine")
    assert queue.read().entries == ()


async def test_a_guess_is_not_added(at_step: At) -> None:
    rows = "".join(f'{{"alpha": "What is {n}?", "beta": "It is the number {n}, of course."}}\n' for n in range(40))
    Path("odd.jsonl").write_text(rows)
    app = at_step("review", edits={"data.source": "odd.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, "It is not clear what these rows teach: say what is meant at Data.")
        await pilot.press("q", "enter")
        await settle(pilot)
        assert app.step.NAME == "review"
        assert "Start is blocked" in app.shown()
    assert queue.read().entries == ()


async def test_a_plan_for_another_card_is_not_added(at_step: At) -> None:
    app = at_step("review", edits={"data.source": "rows.jsonl"}, card_gib=24)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await settle(pilot)
        assert "ERROR This is a plan for a card of 24 GB." in app.shown()
    assert queue.read().entries == ()
