"""A preset suits several models: each is told with what it is good for, and its memory beside."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fitune.core.machine.host import Machine
from fitune.core.recipe import presets
from fitune.core.units import GIB
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.wizard.draft import Draft, next_model, recipe, restore, save, use_preset
from tests.tui.wizard.wizard_kit import Wizard, settle

PRESET = presets.find("8b-on-12gb")


async def test_left_and_right_choose_the_model_and_the_memory_beside_is_its_own(at_step: Callable[..., Wizard]) -> None:
    app = at_step("preset")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        first = app.step.forecast.budget
        assert app.step.draft.preset == PRESET.id
        assert f"1 of {len(PRESET.models)}" in app.shown()
        await pilot.press("right")
        assert recipe(app.step.draft).model.id == PRESET.models[1]
        assert f"2 of {len(PRESET.models)}" in app.shown()
        assert app.step.forecast.budget != first
        await pilot.press("left", "left")
        assert recipe(app.step.draft).model.id == PRESET.models[-1]
        assert "a proven classic of 2024" in " ".join(app.shown().replace("│", " ").split())
        await pilot.press("down", "up")
        assert recipe(app.step.draft).model.id == PRESET.models[0], "a model belongs to its preset"
        await pilot.press("right", "enter")
        await settle(pilot)
        assert recipe(app.step.draft).model.id == PRESET.models[1]
        assert app.step.draft.edits == {}, "it is the preset's, no change of the user's"


async def test_the_list_tells_how_the_preset_fares_with_the_model_in_hand(at_step: Callable[..., Wizard]) -> None:
    app = at_step("preset")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        before = app.shown()
        await pilot.press("right")
        assert app.shown() != before
        assert app.step.forecast.short in app.shown()
        await pilot.press("left")
        assert app.shown() == before


@pytest.mark.parametrize("name", ["4b-on-12gb", "14b-on-8gb", "14b-on-24gb", "120b-on-80gb"])
async def test_the_preset_chosen_before_is_in_view_though_what_is_told_of_it_takes_lines(
    at_step: Callable[..., Wizard], name: str
) -> None:
    app = at_step("preset", preset=name)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        found = app.step.query_one(ChoiceList)
        assert found.highlighted is not None
        line = found.highlighted - round(found.scroll_offset.y)
        assert app.step.draft.preset == name
        assert 0 <= line < found.size.height


def test_the_chosen_model_is_kept_after_a_crash_unless_the_preset_has_it_no_more(home: Path) -> None:
    draft = next_model(use_preset(Draft(), PRESET.id), 1)
    save(draft, "edit", home)
    assert restore(home) == (draft, "edit")
    save(use_preset(draft, PRESET.id), "edit", home)
    assert restore(home) == (draft, "edit")
    file = home / "draft.json"
    file.write_text(file.read_text().replace(PRESET.models[1], "gone/model"))
    kept = restore(home)
    assert kept is not None
    assert kept[0].model is None
    assert next_model(Draft(), 1) == Draft()


async def test_a_machine_without_a_card_is_told_calmly_what_it_can_do(
    at_step: Callable[..., Wizard], this_machine: Machine
) -> None:
    bare = replace(this_machine, gpus=(), ram_available_bytes=16 * GIB)
    app = at_step("preset", preset=None, machine=bare)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        shown = " ".join(line.partition("│")[0].strip() for line in app.shown().splitlines())
        assert "No NVIDIA card here: it trains on the processor, slowly. 1 of " in shown
        assert "presets fits its RAM (16.0 GiB free). ^g plans for a card." in shown
        assert "ERROR" not in app.shown()
        words = [line.split()[0] for line in app.shown().splitlines() if re.search(r"(short|to spare) +│", line)]
        assert words[0] == "OK"
        assert set(words[1:]) == {"over"}
        await pilot.press("ctrl+g", *"24", "enter")
        await settle(pilot)
        told = " ".join(line.partition("│")[0].strip() for line in app.shown().splitlines())
        assert re.search(r"A planned 24 GB card, 22\.8 GiB free: \d+ of \d+ presets fit, the best first\.", told)
        assert "^g plans" not in told


async def test_the_theme_that_was_chosen_is_kept(at_step: Callable[..., Wizard], home: Path) -> None:
    app = at_step("preset")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.theme = "textual-light"
        await settle(pilot)
    assert (home / "theme").read_text() == "textual-light"
    assert Wizard().theme == "textual-light"
    (home / "theme").write_text("no such theme\x1b")
    assert Wizard().theme == "fitune"
