"""The form, the budget beside it, help, and the review. Numbers are those of the checklist for terminals."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Button, Input, Static

from fitune.core.data import dataset
from fitune.core.machine.host import Machine
from fitune.core.recipe import load
from fitune.core.recipe.data_fields import Data
from fitune.core.tokens import cache
from fitune.core.units import GIB
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.widgets.help_page import HelpScreen
from fitune.tui.wizard.draft import recipe, set_field
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.screens.edit import EditScreen
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.field_input import Changed, FieldInput
from fitune.tui.wizard.widgets.form import LABEL_COLUMNS, Form
from fitune.tui.wizard.widgets.form_rows import shortened
from tests.core.tokens.token_rows import prepared
from tests.tui.wizard.wizard_kit import CARD, Wizard, said, settle, until

At = Callable[..., Wizard]
TO_RANK = ("down", "down", "down")


def form(app: Wizard) -> Form:
    return app.screen.query_one(Form)


def drawn(app: Wizard, name: str) -> str:
    """The line of a field as it is on the screen."""
    label = all_fields()[name].label
    return next(line for line in app.shown().splitlines() if line[1:].startswith(f"{label} "))


def text_in(app: Wizard, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


@pytest.mark.parametrize("key", ["f1", "question_mark"])
async def test_check_08_help_tells_the_field_and_gives_the_focus_back(at_step: At, key: str) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*TO_RANK)
        focused = app.screen.focused
        await pilot.press(key)
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        text = str(app.screen.query_one("VerticalScroll Static", Static).render())
        for needed in ("Rank (lora.r)", "default: 16", "from 1 up to 1,024", "32: costs ", "Typical mistake"):
            assert needed in text
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen.focused is focused
        assert app.step.draft.edits == {}


@pytest.mark.parametrize("name", ["start", "preset", "edit", "data", "review"])
async def test_check_08_help_is_there_at_every_step(at_step: At, name: str) -> None:
    app = at_step(name)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)


async def test_check_09_each_field_says_where_its_value_comes_from(at_step: At) -> None:
    answers = {"train": {"epochs": 3.0}}
    app = at_step("edit", edits={"lora.r": "64"}, answers=answers)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "* edited" in drawn(app, "lora.r")
        assert " answers" in drawn(app, "train.epochs")
        assert " preset" in drawn(app, "model.max_seq_length")
        assert " default" in drawn(app, "train.optimizer")


async def test_check_10_one_key_resets_a_field_and_its_mark(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*TO_RANK, *"64")
        assert " 64 " in drawn(app, "lora.r")
        assert "* edited" in app.shown()
        await pilot.press("ctrl+r")
        await pilot.pause()
        assert " 16 " in drawn(app, "lora.r")
        assert "* edited" not in app.shown()
        assert app.step.draft.edits == {}


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("lora.r", "0", "from 1 up to 1,024"),
        ("lora.r", "", "from 1 up to 1,024"),
        ("model.max_seq_length", "9999999", "from 32 up to 1,048,576"),
        ("train.lr", "2e", "more than 0 up to 1"),
        ("train.lr", "5", "more than 0 up to 1"),
        ("model.id", "", "A value is needed: text"),
    ],
)
async def test_check_11_a_wrong_value_is_told_below_its_field_and_holds_the_step(
    at_step: At, name: str, text: str, allowed: str
) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        form(app).enter(name)
        await pilot.press("end", "ctrl+u", *text)
        await pilot.pause()
        lines = app.shown().splitlines()
        at = lines.index(drawn(app, name))
        assert lines[at + 1].startswith("   ERROR ")
        assert allowed in " ".join(" ".join(line[: form(app).size.width] for line in lines[at + 1 : at + 3]).split())
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, EditScreen)
        assert form(app).field.name == name


async def test_check_11_fields_that_contradict_each_other_are_told_at_the_field(at_step: At) -> None:
    app = at_step("edit", edits={"lora.init": "pissa"})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, EditScreen)
        assert form(app).field.name == "lora.init"
        assert "must then be 16-bit" in form(app).wrong["lora.init"]
        assert "ERROR" in app.shown().partition(drawn(app, "lora.init"))[2].splitlines()[1]


@pytest.fixture
def small(this_machine: Machine) -> Machine:
    return replace(this_machine, gpus=(replace(CARD, free_bytes=5 * GIB),))


async def test_check_12_over_budget_blocks_the_start_with_the_shortfall_and_remedies(
    at_step: At, small: Machine
) -> None:
    app = at_step("review", machine=small, edits={"data.source": "rows.jsonl", "model.quant": "bf16"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        text = app.shown()
        assert re.search(r"ERROR [\d.]+ GiB short", text)
        assert re.search(r"\^o .*saves [\d.]+ GiB", text)
        assert "Start is blocked: see ERROR above" in text
        await pilot.press("enter")
        await settle(pilot)
        assert app.begun is None
        for _ in range(6):
            if app.step.forecast.verdict == "over":
                await pilot.press("ctrl+o")
                await settle(pilot)
        assert app.step.forecast.verdict in ("fits", "tight")
        assert "blocked" not in app.shown()
        await pilot.press("enter")
        await settle(pilot)
    assert app.begun is not None


async def test_check_13_the_budget_follows_each_key_within_50_ms_and_says_predicted(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*TO_RANK)
        screen = app.screen
        assert isinstance(screen, EditScreen)
        panel = screen.query_one(BudgetPanel)
        before = str(panel.render())
        assert "Predicted" in before
        assert "easured" not in before
        took_s = []
        for rank in ("64", "128", "256"):  # the best of three: other programs share this processor
            began_s = time.process_time()
            screen.on_changed(Changed("lora.r", rank))
            took_s.append(time.process_time() - began_s)
        assert min(took_s) < 0.05
        assert str(panel.render()) != before
        assert re.search(r"Instead of 16: costs [\d.]+ GiB", text_in(app, "#detail"))


async def test_check_14_numbers_take_no_letters_and_2e_4_is_0_0002(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*TO_RANK, *"3x2y")
        assert " 32 " in drawn(app, "lora.r")
        form(app).enter("train.lr")
        await pilot.press(*"0.0002")
        await pilot.pause()
        assert recipe(app.step.draft).train.lr == 2e-4
        await pilot.press("end", *"5")
        await pilot.pause()
        assert recipe(app.step.draft).train.lr == 0.00025  # 0.0002 with a 5 behind it


async def test_check_14_a_paste_with_newline_and_control_bytes_submits_nothing(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*TO_RANK)
        app.screen.focused.post_message(events.Paste("6\x1b4\n\x00"))  # type: ignore[union-attr]
        await pilot.pause()
        assert isinstance(app.screen, EditScreen)
        assert "\x1b" not in form(app).line.text
        form(app).enter("model.id")
        form(app).post_message(events.Paste("a/b\x1b]52;c;aGk=\x07\nsecond"))
        await pilot.pause()
        assert app.step.draft.edits["model.id"].isprintable()


async def test_check_15_the_review_lists_all_that_will_happen(at_step: At, home: Path) -> None:
    edits = {"data.source": "rows.jsonl", "lora.r": "64", "train.seed": "7"}
    app = at_step("review", edits=edits, report=dataset.inspect(Data(source="rows.jsonl")))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = app.shown()
        assert "Rank (lora.r) = 64, Seed (train.seed) = 7" in text
        assert str(home / "runs") in re.sub(r"\s*\n\s*", "", text)
        assert re.search(r"[\d.]+ GiB needed, 500.0 GiB free", text)
        assert "Downloads 16.0 GiB of" in text
        assert re.search(r"Time +about .*, from .* to .*: .* to start", text)


async def test_checks_16_and_17_a_push_is_private_and_confirmed_with_the_safe_answer_first(at_step: At) -> None:
    edits = {"data.source": "rows.jsonl", "deliver.push_repo": "me/mine"}
    app = at_step("review", edits=edits)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmDialog)
        assert "me/mine on the Hub, private: only you can see it" in app.shown()
        assert app.screen.focused is app.screen.query_one("#stay", Button)
        await pilot.press("enter")
        await settle(pilot)
        assert app.begun is None
        await pilot.press("enter", "right", "enter")
        await settle(pilot)
    assert app.begun is not None


async def test_check_17_a_public_push_says_so_in_capitals(at_step: At) -> None:
    edits = {"data.source": "rows.jsonl", "deliver.push_repo": "me/mine", "deliver.private": "no"}
    app = at_step("review", edits=edits)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert "PUBLIC: everyone can see it" in app.shown()


async def test_check_20_the_written_recipe_and_command_give_the_same_configuration(at_step: At, home: Path) -> None:
    from fitune.tui.cli import parser

    app = at_step("review", edits={"data.source": "rows.jsonl", "lora.r": "64", "train.lr": "1e-4"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("w", "w")
        await pilot.pause()
        wanted = recipe(app.step.draft)
        command = said(pilot, "#status").split(": ")[-1].split()
    assert command == ["fitune", "train", "recipe-2.toml"]  # the first one is not overwritten
    args = parser().parse_args(command[1:])
    assert load.load(args.recipe, args.set) == wanted


async def test_check_36_letters_in_a_box_are_letters(at_step: At) -> None:
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(*"wqbdskhn/ x")
        assert app.screen.query_one(FieldInput).value == "wqbdskhn/ x"
        assert app.step.NAME == "data"


async def test_the_rest_of_the_fields_unfold_and_fold_without_losing_a_value(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        assert len(form(app).fields) == 10
        await pilot.press(*TO_RANK, *"64", "ctrl+t")
        await settle(pilot)
        assert len(form(app).fields) > 40
        form(app).enter("train.seed")
        await pilot.press(*"7", "ctrl+t")
        await settle(pilot)
        assert [field.name for field in form(app).fields][10:] == ["train.seed"], "what was changed stays in sight"
        assert app.step.draft.edits == {"lora.r": "64", "train.seed": "7"}


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("unsloth/Llama-3.1-8B-Instruct", 40, "unsloth/Llama-3.1-8B-Instruct"),
        ("unsloth/Llama-3.1-8B-Instruct", 22, "Llama-3.1-8B-Instruct"),
        ("unsloth/Llama-3.1-8B-Instruct", 16, "Llama-3.1-8B-In…"),
        ("/models/名前名前名前/", 8, "/models…"),
        ("名前名前名前", 8, "名前名…"),
    ],
)
def test_a_long_value_goes_without_its_owner_and_tells_where_it_is_cut(text: str, columns: int, told: str) -> None:
    assert shortened(text, columns) == told


@pytest.mark.parametrize(("key", "step"), [("tab", 1), ("down", 1), ("shift+tab", -1), ("up", -1)])
async def test_check_03_each_field_comes_once_in_the_order_of_the_screen_and_then_the_first(
    at_step: At, key: str, step: int
) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        names = [field.name for field in form(app).fields]
        visited = [form(app).field.name]
        for _ in names:
            await pilot.press(key)
            visited.append(form(app).field.name)
        assert visited == [*names[:1], *names[1:][::step], names[0]]


async def test_what_is_typed_stays_as_typed_until_another_field_is_taken(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        form(app).enter("lora.alpha")
        await pilot.press(*"16.0")
        assert " 16.0 " in drawn(app, "lora.alpha")
        await pilot.press("down")
        assert " 16 " in drawn(app, "lora.alpha")


async def test_a_long_value_is_typed_at_its_end_and_seen_there(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, " Qwen/Qwen3-8B ")
        await pilot.press("end", *"-xyz-with-a-long-name")
        assert "-name " in drawn(app, "model.id")
        assert app.step.draft.edits == {"model.id": "Qwen/Qwen3-8B-xyz-with-a-long-name"}


async def test_the_cost_of_a_field_is_told_in_bytes_and_in_minutes_once_the_rows_are_known(at_step: At) -> None:
    report = replace(dataset.inspect(Data(source="rows.jsonl")), rows=100_000)
    for known, told in ((None, r"\d+% faster"), (report, r"[\d ]+ (min|h) .*shorter")):
        app = at_step("edit", edits={"data.source": "rows.jsonl"}, report=known)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("ctrl+t")
            form(app).enter("train.checkpointing")
            await pilot.pause()
            assert re.search(rf"off: costs [\d.]+ GiB, {told}", text_in(app, "#detail"))
            await pilot.press("left")
            assert re.search(rf"Instead of unsloth: costs [\d.]+ GiB, {told}", text_in(app, "#detail"))


async def test_a_choice_turns_with_space_and_arrows_and_comes_round(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "space")
        assert app.step.draft.edits == {"model.quant": "int8"}
        await pilot.press("right", "right")
        assert app.step.draft.edits == {}
        await pilot.press("left")
        assert app.step.draft.edits == {"model.quant": "bf16"}


async def test_another_card_is_planned_for_with_one_key_but_not_started_on(at_step: At) -> None:
    app = at_step("preset", preset=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+g", *"xx", "enter")
        await pilot.pause()
        assert "no size of a card" in app.shown()
        app.screen.query_one(Input).value = "24 GB"
        await pilot.press("enter")
        await settle(pilot)
        assert "a planned 24 GB card" in " ".join(app.shown().split())
        assert app.step.draft.card_gib == 24


async def test_rows_that_were_rendered_before_make_the_budget_that_of_their_true_lengths(
    at_step: At, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = at_step("edit", edits={"data.source": "rows.jsonl"})
    found = prepared([(60, [(50, 60)])] * 40)
    monkeypatch.setattr(cache, "lookup", lambda asked, base: found if base == home else None)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert app.step.forecast.work is not None
        assert app.step.forecast.work.longest == 60
        assert "measured" in app.shown()
        await pilot.press("ctrl+f")
        assert app.step.note.endswith("(lengths: measured on your 40 rows)")


async def test_ctrl_f_takes_the_fastest_plan_that_fits_and_says_so(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        edit = app.step
        assert isinstance(edit, EditScreen)
        edit.draft = set_field(edit.draft, "train.micro_batch", "64")
        edit.show()
        assert edit.forecast.verdict == "over"
        await pilot.press("ctrl+f")
        await pilot.pause()
        assert app.step.forecast.verdict == "fits"
        assert recipe(app.step.draft).train.micro_batch * recipe(app.step.draft).train.grad_accum == 256


async def test_check_28_the_long_form_does_not_scroll_sideways(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+t")
        await settle(pilot)
        assert form(app).show_vertical_scrollbar
        assert not form(app).show_horizontal_scrollbar
        assert all(len(field.label) <= LABEL_COLUMNS for field in form(app).fields)
