"""A preset suits several models: each is told with what it is good for, and its memory beside."""

from collections.abc import Callable
from pathlib import Path

from fitune.core.recipe import presets
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
        assert "a proven classic of 2024" in " ".join(app.shown().split())
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
