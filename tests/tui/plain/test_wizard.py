"""The plain prompts: the same questions in the same order with the same defaults as the screens, and no escape byte."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from fitune.core import jobs, runs
from fitune.core.jobs import Begun
from fitune.core.machine.host import Machine
from fitune.core.recipe.fields import Recipe
from fitune.core.tokens.lengths import TokenStats
from fitune.tui.plain import wizard as plain
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import discard, restore, shown
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.widgets.form import Form
from tests.fake_worker import make_run
from tests.tui.wizard.wizard_kit import Wizard, answer_folder, go_to, rendered


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, this_machine: Machine, rendered_at_once: None) -> list[Recipe]:
    """The recipes of the runs that the prompts began."""
    recipes: list[Recipe] = []

    def begin(recipe: Recipe, preset: str | None = None, rows: TokenStats | None = None) -> Begun:
        recipes.append(recipe)
        return Begun(runs.create(recipe, runs.home()), "setsid", "", ())

    monkeypatch.setattr(jobs, "begin", begin)
    monkeypatch.setattr("fitune.tui.watch.follow.follow_to_end", lambda run: 0)
    return recipes


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the prompts with these answers, a line each."""

    def run(*lines: str, **named: Any) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
        return plain.run_plain(**named)

    return run


def test_five_empty_lines_and_one_to_look_at_the_rows_start_a_run(
    begun: list[Recipe], answer: Callable[..., int]
) -> None:
    assert answer(*[""] * 6) == 0
    assert begun[0].model.id == "Qwen/Qwen3-8B"
    assert begun[0].data.source == "rows.jsonl"


def test_the_fastest_plan_is_proposed_and_u_undoes_it(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path("rows.jsonl")
    rows.write_text(rows.read_text() * 200)  # in a few steps there is nothing to gain
    answer(*[""] * 6)
    assert "Plan: " in (said := capsys.readouterr().err)
    assert re.search(r"faster than|times as fast as", said)
    answer(*[""] * 5, "u", "")
    fast, plain_one = (each.train for each in begun)
    assert fast.micro_batch > plain_one.micro_batch == 2
    assert fast.micro_batch * fast.grad_accum == plain_one.micro_batch * plain_one.grad_accum


async def test_check_41_prompts_and_screens_ask_the_same_with_the_same_defaults(
    begun: list[Recipe],
    answer: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    wizard: Callable[..., Wizard],
    home: Path,
) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        asked = []
        for at, step in enumerate(steps.STEPS, 1):
            await go_to(pilot, step.name)
            asked += [f"{step.title} ({at} of 5): {step.question}", *questions(app.step)]
    discard(home)
    answer(*[""] * 6)
    text = capsys.readouterr().err
    places = [text.index(each) for each in asked]
    assert places == sorted(places)
    assert len(asked) > 20


def questions(screen: StepScreen) -> list[str]:
    """What a screen asks, as the prompts would write it."""
    if screen.NAME in ("start", "preset"):
        options = screen.query_one(OptionList).options
        return [f"{number:>3}. {option.prompt}" for number, option in enumerate(options, 1)]
    if screen.NAME == "edit":
        return [f"{field.label}: {shown(screen.draft, field.name)} (" for field in screen.query_one(Form).fields]
    return [f"[{screen.draft.source}]"] if screen.NAME == "data" else []


def test_back_help_and_a_wrong_number_cost_no_value(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["", "", "4", "64", "5", "?", "99", "b", "b", "b", "", "", "", "?", "nowhere.csv", "", "", ""]
    assert answer(*keys) in (0, 130)
    said = capsys.readouterr().err
    assert "Typical mistake" in said
    assert "Type one of the numbers" in said
    assert "nowhere.csv" in said
    assert "* Rank: 64 (edited)" in said.split("nowhere.csv")[0].rsplit("Settings (3 of 5)", 1)[1]


def test_a_wrong_value_is_told_with_its_range_and_stops_the_step(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    answer("", "", "4", "9999", "")
    said = capsys.readouterr().err
    assert "9,999 is too large. Allowed: from 1 up to 1,024." in said
    assert "Fix the settings marked ERROR" in said
    assert begun == []


def test_what_does_not_fit_is_never_started(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    answer("", "", "2", "bf16", "", "", "", "u", "y")
    assert begun == []
    assert re.search(r"ERROR [\d.]+ GiB short", capsys.readouterr().err.split("u to undo the plan")[1])


def test_one_letter_makes_it_fit(begun: list[Recipe], answer: Callable[..., int]) -> None:
    answer("", "", "2", "bf16", "f", "", "", "", "y")
    assert begun[0].model.quant == "bf16"
    assert begun[0].train.offload_layers


def test_ctrl_c_and_the_end_of_input_keep_the_answers(
    begun: list[Recipe], answer: Callable[..., int], home: Path
) -> None:
    assert answer("", "", "4", "64", "") == 130
    kept = restore(home)
    assert kept is not None
    assert kept[1] == "data"
    assert kept[0].edits["lora.r"] == "64"
    assert answer("1", "") == 130


def test_b_at_the_first_question_leaves_the_answers_of_last_time_alone(
    begun: list[Recipe], answer: Callable[..., int], home: Path
) -> None:
    answer("", "", "4", "64", "")
    before = restore(home)
    assert answer("b", "b") == 130
    assert before is not None
    assert restore(home) == before


def test_who_looks_at_a_run_first_keeps_the_answers_of_last_time(
    begun: list[Recipe], answer: Callable[..., int], home: Path
) -> None:
    answer("", "", "4", "64", "")
    before = restore(home)
    make_run(home, told="ok")
    assert answer("3") == 0
    assert begun == []
    assert before is not None
    assert restore(home) == before


def test_who_leaves_before_the_first_answer_is_not_told_that_answers_are_kept(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer() == 130
    assert capsys.readouterr().err.endswith("\nLeft.\n")


def test_answers_taken_up_at_the_review_tell_the_time_and_bad_rows_lead_back(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert answer(*[""] * 5) == 130
    capsys.readouterr()
    assert answer("1") == 130
    assert re.search(r"Review.*\nTime: about .*, from .* to .*: .* to start", capsys.readouterr().err, re.DOTALL)
    Path("rows.jsonl").unlink()
    assert answer("1") == 130
    said = capsys.readouterr().err
    assert "ERROR" in said
    assert said.rindex("Data (4 of 5)") > said.index("Review (5 of 5)")
    assert begun == []


def test_a_push_is_confirmed_in_words_that_name_repository_and_who_sees_it(
    begun: list[Recipe], answer: Callable[..., int], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    answers = {"deliver": {"push_repo": "me/mine"}}
    assert answer(*[""] * 7, answers=answers) == 130
    assert begun == []
    assert "me/mine on the Hub, private" in capsys.readouterr().err
    discard(home)
    assert answer(*[""] * 6, "yes", answers=answers) == 0
    assert begun[0].deliver.push_repo == "me/mine"


def test_check_31_not_one_escape_byte_and_no_mark_that_latin_1_lacks(home: Path) -> None:
    rows = Path("evil.jsonl")
    rows.write_text(json.dumps({"question": "\x1b]52;c;aGk=\x07 [/INST]", "answer": "\x9b31m [red]x[/red] █"}) + "\n")
    code = """
import sys
from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.tui.plain import wizard
def refuse(recipe):
    raise UserError("No model: \\x1b[2J")
jobs.prepare = refuse
status = wizard.run_plain()
print('textual' in sys.modules)
sys.exit(status)"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=b"\n\n\nevil.jsonl\n\nn\n",
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert ran.returncode == 130, ran.stderr
    assert b"\x1b" not in ran.stderr
    assert b"\x9b" not in ran.stderr
    assert not re.search(rb"\\u25|\\x1b", ran.stderr)
    assert b"[/INST]" in ran.stderr
    assert b"[red]x[/red]" in ran.stderr
    assert ran.stdout.strip() == b"False"


@pytest.mark.parametrize(("number", "expected"), [("", "keep"), ("2", "off")])
def test_whether_a_model_that_thinks_goes_on_to_think_is_asked(
    begun: list[Recipe],
    answer: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: str,
    expected: str,
) -> None:
    notes = {"notes": {"no_thoughts": 40}, "switch": "enable_thinking"}
    monkeypatch.setattr(jobs, "prepare", lambda recipe: rendered(recipe, answer_folder(recipe, home), **notes))
    assert answer("", "", "", "", number, "", "") == 0
    assert begun[0].data.thinking == expected
    said = capsys.readouterr().err
    assert "your rows do not" in said
    assert "  1. Keep its thinking" in said
