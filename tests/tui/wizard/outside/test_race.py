"""The race of learning rates from the review: asked first, its winner is set, and its failures are sentences."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import orjson
import pytest

from fitune.core.errors import UserError
from fitune.core.recipe import load
from fitune.core.score import Race
from fitune.core.score.race import Lap
from fitune.tui.app import FituneApp
from fitune.tui.wizard.draft import Draft, recipe
from fitune.tui.wizard.outside import lend
from fitune.tui.wizard.outside.race import raced
from tests.tui.wizard.wizard_kit import Wizard, settle, until

At = Callable[..., Wizard]
WON = orjson.dumps(Race((Lap(1e-4, 10, (2.0,), 1.9, 3.0), Lap(4e-4, 10, (1.0,), 0.9, 3.0)), 4e-4)).decode()


def test_the_command_gets_the_recipe_and_its_answer_is_read(home: Path) -> None:
    asked = recipe(Draft(preset="8b-on-12gb", edits={"data.source": "rows.jsonl"}))
    seen: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> tuple[int, str]:
        seen.append(command)
        return 0, WON

    assert raced(asked, home, run).best_lr == 4e-4
    assert list(seen[0][1:4]) == ["-m", "fitune", "tune-lr"]
    assert load.load(Path(seen[0][4])) == asked
    with pytest.raises(UserError, match="The race has no result"):
        raced(asked, home, lambda command: (1, ""))
    with pytest.raises(UserError, match="was left"):
        raced(asked, home, lambda command: (130, ""))


async def test_the_winner_is_set_once_the_user_agreed(at_step: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FituneApp, "suspend", lambda self: nullcontext())
    monkeypatch.setattr(lend, "_run", lambda command, reads: (0, WON))
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("r")
        await until(app, "Race now?")
        await pilot.press("enter")
        await settle(pilot)
        assert "train.lr" not in app.step.draft.edits
        await pilot.press("r", "right", "enter")
        await until(app, "OK 4e-4 learned fastest of 2 rates, and is set now.")
        assert app.step.draft.edits["train.lr"] == "4e-4"


async def test_the_recipe_is_edited_from_the_review(at_step: At, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit(command: Sequence[str], reads: bool) -> tuple[int, str]:
        file = Path(command[-1])
        file.write_text(file.read_text().replace("seed = 3407", "seed = -7"))
        return 0, ""

    monkeypatch.setenv("EDITOR", "ed")
    monkeypatch.setattr(FituneApp, "suspend", lambda self: nullcontext())
    monkeypatch.setattr(lend, "_run", edit)
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("e")
        await until(app, "Press e to go on with the same text.")
        assert "seed" in app.shown()
        monkeypatch.setattr(lend, "_run", lambda command, reads: (0, ""))
        Path("../home/recipe-in-editor.toml").unlink()
        await pilot.press("e")
        await until(app, "Press w to write a recipe")


async def test_a_terminal_that_cannot_be_lent_says_so(at_step: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "ed")
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("e")
        await until(app, "can't be lent to another program.")
