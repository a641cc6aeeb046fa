"""The model is chosen from a list by keyboard, at the settings and at the presets; any other id is taken as typed."""

from collections.abc import Callable

import pytest

from fitune.tui.wizard.screens.models import ModelsDialog
from tests.tui.wizard.wizard_kit import Wizard, settle, until

At = Callable[..., Wizard]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_space_lists_the_models_and_enter_takes_the_one_in_hand(at_step: At, size: tuple[int, int]) -> None:
    app = at_step("edit")
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        assert "Space lists the models that fitune knows" in app.shown()
        await pilot.press("space")
        await until(app, "8.2B")
        assert isinstance(app.screen, ModelsDialog)
        assert app.screen.in_hand == "Qwen/Qwen3-8B"  # the preset's own
        await until(app, "GiB to spare. Download")
        assert all(len(line) <= size[0] for line in app.shown().splitlines())
        await pilot.press(*"qwen3 4b", "enter")
        await settle(pilot)
        assert app.step.draft.edits == {"model.id": "Qwen/Qwen3-4B"}


async def test_any_other_id_is_taken_as_typed_and_esc_takes_nothing(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("space", *"/models/mine 2")
        await until(app, "Another one, as it is typed: /models/mine 2")
        await pilot.press("escape")
        await settle(pilot)
        assert app.step.draft.edits == {}
        await pilot.press("space", *"me/mine")
        await until(app, "Another one, as it is typed: me/mine")
        await pilot.press("enter")
        await settle(pilot)
        assert app.step.draft.edits == {"model.id": "me/mine"}


async def test_at_the_presets_the_best_preset_with_the_model_is_taken(at_step: At) -> None:
    app = at_step("preset")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("m")
        await until(app, "8.2B")
        await pilot.press(*"qwen3-14b", "enter")
        await until(app, "Qwen/Qwen3-14B (1 of")
        assert app.step.draft.model == "Qwen/Qwen3-14B"
        assert app.step.draft.edits == {}
        await pilot.press("m", *"me/mine")
        await until(app, "Another one")
        await pilot.press("enter")
        await until(app, "Your change stays:")
        assert app.step.draft.edits == {"model.id": "me/mine"}


async def test_presets_are_found_by_a_word_and_esc_shows_all(at_step: At) -> None:
    app = at_step("preset")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"70b")
        await until(app, "70B on 24 GB")
        assert "8B on 12 GB" not in app.shown()
        await pilot.press("left", "enter", "down")
        await pilot.pause()
        assert app.step.draft.preset is not None
        assert app.step.draft.preset.startswith("70b")
        await pilot.press("escape")
        await until(app, "14B on 24 GB")
        assert app.step.NAME == "preset"
        await pilot.press("slash", *"zzz")
        await until(app, "No preset has these words.")
        await pilot.press("escape", "escape")
        await until(app, "What do you want to do?")
