"""From nothing to a run by keyboard, forth and back. Numbers are those of the checklist for terminals."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Footer

from fitune.core import runs
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.widgets.step_header import StepHeader
from tests.tui.wizard.wizard_kit import Wizard, go_to, said, settle, step_of, until

New = Callable[..., Wizard]
ALL = [step.name for step in steps.STEPS]


async def test_check_01_five_enters_lead_from_the_start_to_a_run(wizard: New) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        for name in ALL:
            await settle(pilot)
            assert name == app.step.NAME
            await pilot.press("enter")
        await settle(pilot)
    assert app.begun is not None
    recipe = app.begun.recipe()
    assert recipe.data.source.endswith("rows.jsonl")
    assert recipe.model.id == "Qwen/Qwen3-8B"


async def test_a_typed_path_costs_four_keys_besides_and_one_more_to_read_it(wizard: New, home: Path) -> None:
    (home.parent / "work" / "rows.jsonl").rename(home.parent / "elsewhere.jsonl")
    app = wizard()
    keys = 0
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "data")
        keys += 3
        await pilot.press(*"../elsewhere.jsonl")
        for _ in range(3):
            await pilot.press("enter")
            keys += 1
            await settle(pilot)
    assert app.begun is not None
    assert keys <= 10


@pytest.mark.parametrize("name", ALL)
async def test_check_02_each_screen_has_one_focus(at_step: New, name: str) -> None:
    async with at_step(name).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        focused = [widget for widget in pilot.app.screen.query("*") if widget.has_focus]
        assert len(focused) == 1
        assert focused[0].region.bottom <= 24


@pytest.mark.parametrize("name", ALL)
async def test_check_03_tab_visits_each_focusable_once_in_the_order_of_the_screen(at_step: New, name: str) -> None:
    async with at_step(name).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        chain = pilot.app.screen.focus_chain
        seen = []
        for _ in chain:
            seen.append(pilot.app.screen.focused)
            await pilot.press("tab")
        assert pilot.app.screen.focused is seen[0]
        assert set(seen) == set(chain)
        rows = [widget.virtual_region.y if name == "review" else widget.region.y for widget in chain]
        assert rows == sorted(rows)
        await pilot.press("shift+tab")
        assert pilot.app.screen.focused is seen[-1]


async def test_check_04_esc_goes_back_and_never_leaves(wizard: New) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "review")
        for name in [*reversed(ALL[:-1]), "start", "start"]:
            await pilot.press("escape")
            await until(app, steps.named(name).question)
            await settle(pilot)
            assert name == step_of(pilot)
        assert pilot.app.is_running


async def test_check_05_back_and_forth_keeps_every_value(wizard: New) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "preset")
        await pilot.press("down")
        await go_to(pilot, "edit")
        await pilot.press("down", "down", "down", *"64", "down", *"abc9")
        await go_to(pilot, "data")
        await pilot.press(*"other.jsonl")
        before = known(app.step.draft)
        assert {"lora.r", "lora.alpha", "data.source"} <= set(before.edits)
        for _ in range(3):
            await pilot.press("escape")
            await settle(pilot)
        await go_to(pilot, "data")
        assert known(app.step.draft) == before
        assert before.edits["data.source"] == "other.jsonl"


async def test_check_05_a_wrong_value_survives_going_back_too(wizard: New) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "edit")
        await pilot.press("down", "down", *"7")
        await pilot.press("escape")
        await go_to(pilot, "edit")
        assert app.step.draft.edits == {"model.max_seq_length": "7"}


def known(draft: Draft) -> Draft:
    return dataclasses.replace(draft, machine=None, report=None)


@pytest.mark.parametrize(("at", "name"), list(enumerate(ALL, 1)))
async def test_check_06_the_list_of_steps_tells_place_by_words_and_marks(at_step: New, at: int, name: str) -> None:
    async with at_step(name).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        text = str(pilot.app.screen.query_one(StepHeader).render())
        assert f"{at} of 5" in text
        assert text.count("✓") == at - 1
        assert f"▸ {steps.named(name).title}" in text
        assert text.count("·") == 5 - at


async def test_check_06_marks_are_ascii_where_the_terminal_has_no_others(wizard: New) -> None:
    app = wizard(plain_glyphs=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "edit")
        assert "x Machine   x Preset   > Settings   . Data" in app.shown()


async def test_check_07_answers_with_a_model_skip_the_presets_both_ways(wizard: New) -> None:
    answers = {"model": {"id": "Qwen/Qwen2.5-3B-Instruct"}, "lora": {"r": 8}}
    async with wizard(draft=Draft(answers=answers)).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert step_of(pilot) == "edit"
        assert "2 of 4" in str(pilot.app.screen.query_one(StepHeader).render())
        await pilot.press("escape")
        await settle(pilot)
        assert step_of(pilot) == "start"


async def test_check_22_a_killed_wizard_is_taken_up_at_its_step_with_its_values(wizard: New) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "edit")
        await pilot.press("down", "down", "down", *"64")
        await go_to(pilot, "data")
        await settle(pilot)
    again = wizard()  # the first one ended without a word, as after kill -9
    async with again.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Go on with your last answers, at Data" in again.shown()
        await pilot.press("enter")
        await settle(pilot)
        assert again.step.NAME == "data"
        assert again.step.draft.edits["lora.r"] == "64"
        assert again.step.draft.machine is not None


async def test_check_22_a_run_that_began_leaves_no_draft(wizard: New, home: Path) -> None:
    async with wizard().run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "review")
        assert (home / "draft.json").stat().st_mode & 0o777 == 0o600
        await pilot.press("enter")
        await settle(pilot)
    assert not (home / "draft.json").exists()


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+q"])
async def test_check_23_leaving_asks_only_if_something_was_edited(wizard: New, key: str) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "edit")
        await pilot.press(key)
        await pilot.pause()
    assert app.return_code == 0
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await go_to(pilot, "edit")
        await pilot.press("down", "down", "down", *"64", key, key)
        await pilot.pause()
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("enter")
        await pilot.pause()
        assert app.is_running
        assert app.step.NAME == "edit"


async def test_of_the_runs_a_live_one_is_first_and_in_hand(
    wizard: New, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"version": 1, "model": {"id": "a/b"}, "data": {"source": "rows.jsonl"}}
    for name in ("alive", "dead", "done"):
        run = runs.Run(home / "runs" / name)
        run.path.mkdir(parents=True)
        (run.path / "run.json").write_text(json.dumps({"recipe": recipe}))
    (home / "runs" / "dead" / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    states: dict[str, Any] = {"alive": "running", "dead": "killed", "done": "finished"}
    monkeypatch.setattr(runs.Run, "status", lambda self, *_: states[self.name])
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        text = app.shown()
        places = [text.index(each) for each in ("Start a new", "alive", "done", "dead")]  # then the newest
        assert places == sorted(places)
        await pilot.press("enter")
        await settle(pilot)
    assert app.begun is not None
    assert app.begun.name == "alive"


@pytest.mark.parametrize("name", ALL)
async def test_check_35_the_footer_shows_only_keys_that_work(at_step: New, name: str) -> None:
    async with at_step(name).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, StepScreen)
        shown = [each for each in screen.active_bindings.values() if each.binding.show]
        assert all(each.enabled for each in shown)
        keys_of: dict[str, set[str]] = {}
        for each in screen.active_bindings.values():
            keys_of.setdefault(each.binding.action, set()).add(each.binding.key)
        doubtful = {"ctrl+s", "ctrl+q", "ctrl+z", "ctrl+b", "ctrl+a", "f11", "f12"}
        assert not [action for action, keys in keys_of.items() if all(key in doubtful or "alt+" in key for key in keys)]
        footer = screen.query_one(Footer)
        widths = sum(child.region.width for child in footer.children)
        assert widths <= 80, widths
        assert said(pilot, "#too-small")
