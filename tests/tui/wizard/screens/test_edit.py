"""The settings by keyboard: found by a word, walked by pages, refused keys told, empty ones with their meaning."""

from collections.abc import Callable

import pytest

from fitune.tui.wizard.fields import form_fields
from fitune.tui.wizard.widgets.filter_line import FilterInput, FilterLine
from fitune.tui.wizard.widgets.form import Form
from tests.tui.wizard.wizard_kit import Wizard, said, settle, step_of, until

At = Callable[..., Wizard]


def form(app: Wizard) -> Form:
    return app.screen.query_one(Form)


async def test_a_word_finds_a_setting_that_is_folded_away_and_esc_shows_all(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"max step")
        await pilot.pause()
        assert form(app).field.name == "train.max_steps"
        assert "Filter max step" in app.shown()
        assert "Base model" not in app.shown()
        assert app.screen.query_one(FilterLine).size.height == 1  # what was found has the rest of the room
        await pilot.press("enter", *"60")
        await pilot.pause()
        assert app.step.draft.edits == {"train.max_steps": "60"}
        assert "Show all" in app.shown().splitlines()[-1]
        await pilot.press("escape")
        await pilot.pause()
        assert step_of(pilot) == "edit"
        assert "Base model" in app.shown() or "Max steps" in app.shown()
        assert form(app).field.name == "train.max_steps"
        assert len(form(app).fields) == len(form_fields(folded=False))
        await pilot.press("escape")
        await until(app, "Which starting point?")


async def test_a_word_that_no_setting_has_says_so(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"zzz")
        await pilot.pause()
        assert "No setting has these words. Esc shows all." in app.shown()
        assert "0 of" in app.shown()
        await pilot.press("enter", "escape")
        await pilot.pause()
        assert len(form(app).fields) == 10
        assert app.focused is form(app)
        assert app.step.draft.edits == {}


async def test_a_slash_within_a_text_is_a_slash(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(*"a/b")
        await pilot.pause()
        assert app.step.draft.edits == {"model.id": "a/b"}
        assert not isinstance(app.focused, FilterInput)


async def test_a_path_that_begins_with_a_slash_is_for_the_field_in_hand(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(*"/srv/tiny")
        await pilot.pause()
        assert app.step.draft.edits == {"model.id": "/srv/tiny"}
        assert app.focused is form(app)
        assert "Longest row" in app.shown()
        assert not app.screen.query_one(FilterLine).display


async def test_pages_move_the_field_in_hand_and_keep_it_in_sight(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+t")
        seen = []
        for key in ("pagedown", "pagedown", "pageup", "ctrl+end", "pagedown", "ctrl+home", "pageup"):
            await pilot.press(key)
            await pilot.pause()
            seen.append(form(app).at)
            assert f"{form(app).field.label} " in app.shown()
            assert form(app).field.name in said(pilot, "#detail")
        last = len(form(app).fields) - 1
        assert 0 < seen[0] < seen[1] < last
        assert seen[2:] == [seen[0], last, last, 0, 0]


async def test_home_and_end_move_among_fields_where_no_text_is_typed(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "end")
        await pilot.pause()
        assert form(app).at == 9
        await pilot.press("home")
        await pilot.pause()
        assert form(app).at == 0


async def test_a_refused_key_says_why_until_the_next_one(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "down", "down", "x")
        await pilot.pause()
        assert "WARN Only digits can be typed here:" in app.shown()
        await pilot.press("8")
        await pilot.pause()
        assert "WARN" not in app.shown()
        assert app.step.draft.edits == {"lora.r": "8"}
        form(app).enter("train.optimizer")
        await pilot.press("s")
        await pilot.pause()
        assert app.step.draft.edits["train.optimizer"] == "sgd"
        await pilot.press("z")
        await pilot.pause()
        assert "WARN No value begins with z" in app.shown()


@pytest.mark.parametrize("field", form_fields(folded=False), ids=lambda field: field.name)
def test_no_help_is_filler(field: object) -> None:
    from fitune.tui.wizard.draft import Draft
    from fitune.tui.wizard.help import field_help

    text = " ".join(text for _, text in field_help(field.name, Draft(preset="8b-on-12gb")))  # type: ignore[attr-defined]
    assert "without a reason" not in text
    assert "Costs no memory" not in text


async def test_all_values_of_a_choice_fit_below_the_form(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        form(app).enter("train.optimizer")
        await settle(pilot)
        below = " ".join(app.shown().partition("train.optimizer")[2].split())
        for value in form(app).field.choices:
            assert value in below
        assert "saves" in below or "spill to host RAM when the card is full." in below


async def test_groups_are_named_and_empty_settings_show_what_they_stand_for(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(120, 60)) as pilot:
        await settle(pilot)
        assert "What matters first  All good as they are." in app.shown()
        await pilot.press("ctrl+t")
        await settle(pilot)
        for told in ("Learning  How long, and in how large steps.", "(by epochs)", "(all layers)"):
            assert told in app.shown()
        form(app).enter("train.max_steps")
        await pilot.press("5", "backspace")
        await pilot.pause()
        assert "(by epochs)" in app.shown()


async def test_what_something_has_set_is_listed_though_the_rest_is_folded(at_step: At) -> None:
    app = at_step("edit", preset="70b-on-24gb", edits={"lora.dropout": "0.1"}, card_gib=24.0)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert {"train.offload_layers", "lora.dropout"} <= {field.name for field in form(app).fields}
        assert len(form(app).fields) < 20
        last = app.shown().splitlines()[-1]
        assert "^t More" in last
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert len(form(app).fields) == len(form_fields(folded=False))
        assert "^t Fewer" in app.shown().splitlines()[-1]
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert "train.offload_layers" in {field.name for field in form(app).fields}


async def test_what_best_has_changed_is_listed_and_its_reason_stays_until_the_next_change(at_step: At) -> None:
    app = at_step("edit", edits={"model.max_seq_length": "8192"}, card_gib=8.0)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert app.step.forecast.verdict == "over"
        await pilot.press("ctrl+f")
        await settle(pilot)
        changed = set(app.step.draft.edits) - {"model.max_seq_length"}
        assert changed
        assert changed <= {field.name for field in form(app).fields}
        assert app.step.note.partition(":")[0] in " ".join(app.shown().split()).replace("│ ", "")
        await pilot.press("down", "up")
        assert "^f " in app.shown().splitlines()[-1]
        assert app.step.note
        await pilot.press("ctrl+o" if app.step.ways else "right", "1")
        await settle(pilot)
        assert app.step.note == ""


async def test_nothing_that_fits_is_told_on_the_panel_and_stays(at_step: At) -> None:
    app = at_step("edit", edits={"run.vram_limit_gib": "2"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        said_before = " ".join(app.shown().split())
        assert "ERROR" in said_before
        await pilot.press("ctrl+f")
        await settle(pilot)
        assert app.step.note.startswith("Nothing fits")
        assert "Nothing fits" in app.shown()


async def test_a_setting_that_the_planned_card_excludes_is_told_at_its_field_and_the_title_stays(at_step: At) -> None:
    edits = {"train.backend": "auto", "train.offload_layers": "4", "train.checkpointing": "off"}
    app = at_step("edit", edits=edits, card_gib=24.0)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Memory of a planned 24 GB card" in app.shown()
        assert "Offload layers (train.offload_layers) needs checkpointing" in " ".join(
            line.partition("│")[2].strip() for line in app.shown().splitlines()
        )
        await pilot.press("enter")
        await settle(pilot)
        assert step_of(pilot) == "edit"
        assert form(app).field.name == "train.offload_layers"
