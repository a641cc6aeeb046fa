"""The data step by keyboard: problems first, lengths with the cut, rows token by token; counting never blocks."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual import events

from fitune.core import jobs
from fitune.core.data import dataset
from fitune.core.errors import UserError
from fitune.core.recipe.data_fields import Data
from fitune.core.recipe.fields import Recipe
from fitune.core.runs import EventLog, Phase, Started
from fitune.core.runs.run import Run
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.views import ViewName
from fitune.tui.wizard import draft as drafts
from fitune.tui.wizard.draft import recipe
from fitune.tui.wizard.screens.data import DataScreen
from fitune.tui.wizard.screens.data_views import VIEWS
from fitune.tui.wizard.widgets.field_input import FieldInput
from fitune.tui.wizard.widgets.source_picker import what_enter_does
from tests.tui.text.test_clean import OBEYED
from tests.tui.wizard.wizard_kit import Wizard, answer_folder, rendered, said, settle, step_of, until

At = Callable[..., Wizard]
SOURCE = {"data.source": "rows.jsonl"}
LATE, GONE = {**SOURCE, "model.max_seq_length": "48"}, {**SOURCE, "model.max_seq_length": "32"}
"""Lengths that cut some answers of `long_rows`, and that cut away all of them."""


@pytest.fixture
def long_rows(home: Path) -> None:
    """40 rows of 41 to 80 words, 39 of them the question."""
    rows = [{"question": "Why? " * 38 + "Why?", "answer": " ".join(["Because."] * n)} for n in range(1, 41)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def screen(app: Wizard) -> DataScreen:
    assert isinstance(app.screen, DataScreen), app.screen
    return app.screen


async def test_down_and_up_choose_a_file_while_the_path_keeps_the_keys(at_step: At) -> None:
    Path("more.jsonl").write_text('{"question": "Who?", "answer": "You."}\n' * 3)
    app = at_step("data", edits={"data.source": "gone.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "down", "up", "enter")
        assert isinstance(app.focused, FieldInput)
        await until(app, "OK 3 rows, question_answer")
        assert app.step.draft.source == "more.jsonl"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_tab_leads_from_the_path_through_each_view_and_back(at_step: At, size: tuple[int, int]) -> None:
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        shown = {
            "Check": "Nothing is wrong",
            "Lengths": "95% of the rows",
            "Tokens": "example 1 of",
            "Rows": "user: What",
        }
        for view in VIEWS:
            await pilot.press("tab")
            await pilot.pause()
            assert isinstance(app.focused, ViewName)
            assert f"▸ {view}" in app.shown()
            assert shown[view] in app.shown()
            assert all(len(line) <= size[0] for line in app.shown().splitlines())
        await pilot.press("tab")
        assert app.focused is app.screen.query_one("FieldInput")


async def test_what_a_folder_holds_besides_is_named(at_step: At) -> None:
    Path("rows").mkdir()
    Path("rows.jsonl").rename("rows/rows.jsonl")
    for name in ("README.md", "a.bin", "b.bin", "c.bin"):
        Path("rows", name).write_text("x")
    app = at_step("data", edits={"data.source": "rows"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "Read: rows.jsonl. Left out: README.md, a.bin, b.bin and 1 more.")


async def test_what_does_not_fit_has_its_remedies_here_too(at_step: At) -> None:
    app = at_step("data", edits={**SOURCE, "model.quant": "bf16"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        at = app.step.ways.index(next(way for way in app.step.ways if way.set.get("model.quant") == "nf4"))
        await until(app, f"{('^o', 'f6', 'f7')[at]} Weights kept as nf4: saves")
        await pilot.press(("f5", "f6", "f7")[at])
        await until(app, "OK 4.3 GiB to spare")


async def test_columns_nobody_knows_are_asked_for_with_the_rows_in_sight(at_step: At) -> None:
    row = {"ort": "Kiel", "alpha": "How wide is it?", "beta": "As wide as you can see."}
    Path("odd.jsonl").write_text(f"{json.dumps(row)}\n" * 40)
    app = at_step("data", edits={"data.source": "odd.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "beta: As wide as you can see.")
        await until(app, "WARN fitune can't tell what to learn from the columns beta, alpha, ort.")
        await until(app, "question: alpha, answer: beta")
        await until(app, 'asked "How wide is it?"\n   it learns to answer "As wide as you can see."')
        await pilot.press("down", "enter")
        await settle(pilot)
        await until(app, "OK 40 rows, question_answer: by your choice of columns.")


async def test_long_texts_stand_above_what_is_learned_of_them_and_all_answers_count(at_step: At) -> None:
    asked = "How do I repair the pump in the harbour when it leaks at night?"
    turns = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": "Close its valve, then wait for the day."},
    ]
    Path("chats.jsonl").write_text(json.dumps({"messages": [*turns, *turns]}) + "\n")
    app = at_step("data", edits={"data.source": "chats.jsonl"})
    async with app.run_test(size=(80, 40)) as pilot:
        await settle(pilot)
        await until(app, 'Asked "How do I repair the pump in the harbour when it l..."')
        await until(app, '   it learns to answer "Close its valve, then wait for the day." (and 1 more)')


async def test_good_and_bad_answers_may_be_learned_from_the_good_ones_alone(at_step: At) -> None:
    row = {"question": "How wide is it?", "chosen": "As wide as you can see.", "rejected": "Go away, please."}
    Path("pairs.jsonl").write_text(f"{json.dumps(row)}\n" * 40)
    app = at_step("data", edits={"data.source": "pairs.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "What do you want to show it? Down and Enter choose.")
        await until(app, "The better answers alone (sft), as question: question, answer: chosen")


async def test_rows_that_cannot_be_used_leave_no_view_empty(at_step: At) -> None:
    Path("empty.jsonl").touch()
    app = at_step("data", edits={"data.source": "empty.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "ERROR There are no rows.")
        for _ in VIEWS[1:]:
            await pilot.press("tab")
            await pilot.pause()
        await pilot.press("tab")
        await until(app, "Nothing to show yet: see Check.")


async def test_problems_of_tokens_stand_before_those_of_rows_and_before_the_counts(
    at_step: At, long_rows: None
) -> None:
    with Path("rows.jsonl").open("a") as file:
        file.write("{broken\n")
    app = at_step("data", edits=LATE)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = app.shown()
        places = [
            text.index(each) for each in ("rows are cut at 48", "1 row can't be read and is", "tokens are trained")
        ]
        assert places == sorted(places)


async def test_one_key_cuts_rows_later_and_the_budget_follows(at_step: At, long_rows: None) -> None:
    app = at_step("data", edits=LATE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Longer rows" in app.shown().splitlines()[-1]
        assert "^l cuts at 128 tokens instead." in app.shown()
        before = screen(app).forecast
        await pilot.press("ctrl+l")
        await settle(pilot)
        assert app.step.draft.edits["model.max_seq_length"] == "128"
        after = screen(app).forecast
        assert before.work is not None
        assert after.work is not None
        assert (before.work.longest, after.work.longest) == (48, 80)
        assert "rows are cut" not in app.shown()
        assert "Longer rows" not in app.shown()


async def test_rows_that_hardly_lose_anything_are_no_problem(at_step: At, home: Path) -> None:
    rows = [{"question": "Why?", "answer": "Because. " * n + "So."} for n in [*[39] * 99, 45]]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = at_step("data", edits={**SOURCE, "model.max_seq_length": "45"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "repeat an earlier one" in app.shown()
        assert "Longer rows" not in app.shown()
        await pilot.press("tab", "tab", "ctrl+l")
        await settle(pilot)
        assert "OK 1 of 100 rows are cut at 45: hardly anything" in app.shown()
        assert app.step.draft.edits["model.max_seq_length"] == "45"


async def test_where_nothing_is_left_to_learn_the_step_holds_and_says_the_cure(at_step: At, long_rows: None) -> None:
    app = at_step("data", edits=GONE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert step_of(pilot) == "data"
        assert said(pilot, "#status").startswith("ERROR Nothing is left to learn")
        assert "40 rows lose their whole answer at 32 tokens" in app.shown()
        await pilot.press("ctrl+l", "enter")
        await settle(pilot)
        assert app.step.NAME == "review"


async def test_a_review_of_rows_without_a_trained_token_starts_nothing(at_step: At, long_rows: None) -> None:
    app = at_step("review", edits=GONE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert "ERROR Nothing is left to learn." in app.shown()
    assert app.begun is None


async def test_rows_are_turned_and_scrolled_token_by_token(at_step: At, long_rows: None) -> None:
    app = at_step("data", edits=LATE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("tab", "tab", "tab")
        await pilot.pause()
        assert "Row 1 of 40, 41 tokens (example 1 of 12)" in app.shown()
        assert "‹<|begin|> ›" in app.shown()
        await pilot.press("left")
        await pilot.pause()
        assert "example 12 of 12" in app.shown()
        await pilot.press("right", "right")
        await pilot.pause()
        assert "example 2 of 12" in app.shown()
        assert "Row" in app.shown().splitlines()[-1]
        await pilot.press(*["down"] * 9)
        await pilot.pause()
        assert "«Because. " in app.shown()
        for _ in range(10):
            if isinstance(app.focused, ViewName):
                await pilot.press("up")
        assert app.focused is app.screen.query_one("FieldInput")


async def test_the_cut_stands_in_the_histogram_and_in_the_row(at_step: At, long_rows: None) -> None:
    app = at_step("data", edits=LATE)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("tab", "tab")
        await pilot.pause()
        lines = app.shown().splitlines()
        cut = next(at for at, line in enumerate(lines) if "cut at 48 tokens ─" in line)
        assert re.match(r" +\d+-48 ", lines[cut - 1])
        assert re.match(r" +49-\d+ ", lines[cut + 1])
        await pilot.press("tab", "left")
        await pilot.pause()
        assert "cut at 48 tokens: what follows is lost" in app.shown()


async def test_ascii_marks_where_the_terminal_has_no_others(at_step: At, this_machine: object) -> None:
    app = at_step("data", edits=SOURCE)
    app.add_class("-plain-glyphs")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for _ in VIEWS:
            await pilot.press("tab")
            await pilot.pause()
            assert str(app.screen.query_one("#rows", Readout).render()).isascii()
            assert str(app.focused.render()).isascii() if app.focused else False
        await pilot.press("shift+tab")
        await pilot.pause()
        assert "[[It " in app.shown()


@pytest.fixture
def counting(home: Path, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A prepare job that is at work until the event is set, and then done at once; or stopped."""
    done = threading.Event()

    class Held(Run):
        def holder_pid(self) -> int | None:
            return None if done.is_set() or self.stop.exists() else 1

    def prepare(asked: Recipe) -> Run:
        run = Held(answer_folder(asked, home))
        if done.is_set():
            return rendered(asked, run.path)
        run.path.mkdir(parents=True, exist_ok=True)
        log = EventLog(run.events, "prepare")
        log.write(Started())
        log.write(Phase(name="rows", rows=20, tokens=1200, bytes=1, total_bytes=2))
        return run

    monkeypatch.setattr(jobs, "prepare", prepare)
    return done


async def test_counting_tells_how_far_it_is_and_enter_goes_on_without(at_step: At, counting: threading.Event) -> None:
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, "Counting tokens: 20 rows, 1,200 tokens, 50 %, ")
        await until(app, " s. Enter goes on without.")
        await pilot.press("enter")
        await until(app, "Start training")
        assert "Tokens " not in app.shown()
        assert not list(Path("../home/prepare").glob("*/stop"))
        for run in Path("../home/prepare").iterdir():
            rendered(recipe(app.step.draft), run)
        counting.set()
        await until(app, "trained in all, rows of up to")


async def test_other_rows_stop_the_counting_of_the_first(at_step: At, counting: threading.Event) -> None:
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, "Counting tokens")
        await pilot.press("tab", "tab", "shift+tab", "shift+tab", "x")
        await pilot.pause()
        assert screen(app).view == "Check"
        assert list(Path("../home/prepare").glob("*/stop"))
        assert "Counting tokens" not in app.shown()


async def test_a_model_that_is_out_of_reach_is_told_and_blocks_nothing(
    at_step: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(asked: Recipe) -> Run:
        raise UserError("The Hub [/INST] \x1b[2J can't be reached.", "Check the connection.")

    monkeypatch.setattr(jobs, "prepare", refuse)
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "WARN The tokens can't be counted. The Hub [/INST]" in app.shown()
        assert not OBEYED.search(app.shown().replace("\n", ""))
        await pilot.press("enter")
        await settle(pilot)
        assert app.step.NAME == "review"
        assert "judged by the first rows" in app.shown()


async def test_rows_in_tokens_are_counted_anew_only_for_another_model_or_other_rows(
    at_step: At, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    asked: list[Recipe] = []

    def prepare(wanted: Recipe) -> Run:
        asked.append(wanted)
        return rendered(wanted, answer_folder(wanted, home))

    monkeypatch.setattr(jobs, "prepare", prepare)
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert len(asked) == 1
        known = app.step.draft
    for name, text in (("model.id", "a/b"), ("data.loss_on", "all"), ("data.source", "other.jsonl")):
        assert drafts.prepared(drafts.set_field(known, name, text)) is None
    for name, text in (("model.max_seq_length", "64"), ("lora.r", "8"), ("data.packing", "yes")):
        assert drafts.prepared(drafts.set_field(known, name, text)) is not None
    assert drafts.prepared(replace(known, rendered=None)) is None


@pytest.fixture
def thinks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model thinks before it answers, and no row has thoughts."""
    notes = {"notes": {"no_thoughts": 40}, "switch": "enable_thinking"}
    monkeypatch.setattr(jobs, "prepare", lambda recipe: rendered(recipe, answer_folder(recipe, home), **notes))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_whether_a_model_that_thinks_goes_on_to_think_is_asked_once_and_shown(
    at_step: At, thinks: None, size: tuple[int, int]
) -> None:
    app = at_step("data", edits=SOURCE)
    asked = "It thinks before it answers, and your rows do not."
    async with app.run_test(size=size) as pilot:
        await until(app, asked)
        assert "Keep its thinking" in app.shown()
        assert all(len(line) <= size[0] for line in app.shown().splitlines())
        await pilot.press("down", "down", "enter")
        await settle(pilot)
        assert recipe(screen(app).draft).data.thinking == "off"
        assert isinstance(app.focused, FieldInput)
        assert screen(app).query_one(ChoiceList).highlighted == 1
        await pilot.press("enter")
        await settle(pilot)
        assert step_of(pilot) == "review"
        text = " ".join(app.shown().split())
        assert "off: it learns to answer at once; fitune asks it with enable_thinking = false" in text
        await pilot.press("escape")
        await until(app, asked)
        assert screen(app).query_one(ChoiceList).highlighted == 1


@pytest.mark.parametrize("answers", [{"thinking": "keep"}, {"thinking": "off"}])
async def test_a_recipe_that_says_it_is_not_asked(at_step: At, thinks: None, answers: dict[str, str]) -> None:
    app = at_step("data", answers={"data": {"source": "rows.jsonl", **answers}})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "your rows do not" not in app.shown()


async def test_without_any_rows_an_example_file_is_written_to_start_from(at_step: At) -> None:
    Path("rows.jsonl").unlink()
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "Write an example file to start from ...")
        await pilot.press("down", "enter")
        await until(app, "What shall the model learn?")
        await until(app, "classification: each row is a text with its label as the answer.")
        await pilot.press("down", "enter")
        await until(app, "OK 2 rows, messages")
        await until(app, "There are only 2 rows")
    assert len(Path("example-chat.jsonl").read_text().splitlines()) == 2


ROW = '{"question": "Who?", "answer": "You."}\n'


def box(app: Wizard) -> FieldInput:
    return app.screen.query_one(FieldInput)


async def test_the_newest_of_several_files_is_proposed_and_not_taken_unseen(at_step: At) -> None:
    Path("newer.jsonl").write_text(ROW * 3)
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "2 files lie here. Enter reads the newest, Down chooses another.")
        assert box(app).value == "newer.jsonl"
        await until(app, "40 rows, question_answer")
        await until(app, "3 rows, question_answer")
        assert app.step.draft.source == ""
        assert app.step.draft.report is None
        await pilot.press("enter")
        await until(app, "OK 3 rows, question_answer")
        assert "rows.jsonl" in app.shown()  # the others stay in sight
        assert app.step.draft.source == "newer.jsonl"


async def test_the_only_file_is_read_at_once(at_step: At) -> None:
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, "OK 40 rows, question_answer")
        await pilot.press("enter")
        await until(app, "Start training")


async def test_an_empty_folder_is_told_with_what_can_be_done(at_step: At) -> None:
    Path("rows.jsonl").unlink()
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "No file with rows lies here. Type a path, or let fitune write an example" in app.shown()
        assert "such as questions.jsonl, or owner/name on the Hub" in app.shown()
        assert "choose a file below" not in app.shown()


async def test_tab_completes_and_says_what_it_can_not_do(at_step: At) -> None:
    Path("rows-2.jsonl").write_text(ROW)
    app = at_step("data", edits={"data.source": "gone.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+u", "r", "tab")
        await pilot.pause()
        assert box(app).value == "rows"
        await pilot.press("tab")
        await until(app, "2 names begin so: type on, or choose with Down.")
        await pilot.press("-", "tab")
        await pilot.pause()
        assert box(app).value == "rows-2.jsonl"
        await pilot.press("ctrl+u", *"zz", "tab")
        await until(app, "WARN Nothing in this folder begins with zz.")
        assert app.focused is box(app)


async def test_folders_open_and_lead_up_again_and_a_whole_folder_is_read(at_step: At) -> None:
    Path("sub").mkdir()
    Path("sub/inner.jsonl").write_text(ROW * 5)
    app = at_step("data", edits={"data.source": "gone.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+u", "down", "down", "enter")
        await until(app, "Enter reads all files in sub. Or choose one with Down.")
        assert "inner.jsonl" in app.shown()
        await pilot.press("down", "down", "enter")
        await until(app, "rows.jsonl")
        assert box(app).value == ""
        await pilot.press(*"sub/", "enter")
        await until(app, "OK 5 rows, question_answer")
        assert app.step.draft.source == "sub/"


@pytest.mark.parametrize(
    "pasted", ["'two words.jsonl'", r"two\ words.jsonl", '"two words.jsonl"', "file://{here}/two%20words.jsonl"]
)
async def test_pasted_paths_are_understood(at_step: At, pasted: str) -> None:
    Path("two words.jsonl").write_text(ROW * 7)
    app = at_step("data", edits={"data.source": "gone.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+u")
        box(app).post_message(events.Paste(pasted.format(here=Path.cwd())))
        await pilot.press("enter")
        await until(app, "OK 7 rows, question_answer")
        assert Path(app.step.draft.source).name == "two words.jsonl"


async def test_rows_with_two_answers_ask_what_to_show(at_step: At) -> None:
    rows = [
        {"prompt": f"What is {n}?", "chosen": f"It is the number {n}, of course.", "rejected": f"No idea, {n}."}
        for n in range(40)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for size in ((80, 24), (120, 40)):
        app = at_step("data", edits={"data.source": "pairs.jsonl"})
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            assert "What do you want to show it?" in app.shown()
            assert "Show it better and worse answers (dpo)" in app.shown()
            assert "The better answers alone" in app.shown()
            await pilot.press("down", "enter")
            await settle(pilot)
            assert app.step.draft.edits["train.objective"] == "dpo"
            report = app.step.draft.report
            assert report is not None
            assert (report.format, report.rows, report.can_train) == ("preference", 40, True)
            await until(app, re.compile(r"to\s+prefer"))


async def test_single_answers_under_another_objective_offer_to_show_good_answers(at_step: At) -> None:
    rows = [{"question": f"What is {n}?", "answer": f"It is the number {n}, of course."} for n in range(40)]
    Path("single.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = at_step("data", edits={"data.source": "single.jsonl", "train.objective": "dpo"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Show it good answers, or just text (sft)" in app.shown()
        await pilot.press("down", "enter")
        await settle(pilot)
        assert "train.objective" not in app.step.draft.edits
        assert app.step.draft.report is not None
        assert app.step.draft.report.can_train


@pytest.mark.parametrize("asked", ["Where is order 4711, which I paid for last week?", "Why? " * 30 + "Why?"])
async def test_rows_stand_whole_at_80x24_or_fill_their_line(at_step: At, asked: str) -> None:
    rows = [{"question": asked, "answer": f"It left our house on day {n} of the month."} for n in range(40)]
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, "40 rows of")
        assert 'it learns to answer "It left our house on day 0 of the month."' in app.shown()
        if len(asked) < 60:
            assert f'Asked "{asked}"' in app.shown()


async def test_tab_is_named_for_what_it_does(at_step: At) -> None:
    app = at_step("data", edits={"data.source": "nothing.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "tab Complete" in app.shown()
        await pilot.press("down", "enter")
        await until(app, "OK 40 rows")
        await until(app, "tab Views")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("rows.jsonl", "Enter reads it."),
        ("ro", "Type on, choose with Down"),
        ("m", "Nothing here is called so: type on"),
        ("owner/name", "Enter asks the Hub for it"),
        ("", "Type a path, or choose with Down."),
    ],
)
def test_a_sentence_tells_what_enter_does_with_what_is_typed(home: Path, typed: str, words: str) -> None:
    assert words in what_enter_does(typed)


async def test_images_for_a_model_that_reads_text_only_stop_the_step(at_step: At) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save("a.png")
    rows = [{"question": f"And {n}?", "answer": f"Red {n}.", "image": "a.png"} for n in range(40)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = at_step("data", edits=SOURCE)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await until(app, "reads text only, and rows hold images")
        await pilot.press("enter")
        await settle(pilot)
        assert step_of(pilot) == "data"
        stopped = app.step.draft
        assert stopped.report is not None
        assert not stopped.report.can_train


async def test_the_way_back_from_the_review_leads_to_plain_texts_that_were_read(at_step: At) -> None:
    Path("texts.jsonl").write_text("".join(json.dumps({"text": f"Gulls rest here, {n} too."}) + "\n" for n in "abc"))
    source = {"data.source": "texts.jsonl"}
    app = at_step("data", edits=source, report=dataset.inspect(Data(source="texts.jsonl")))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await until(app, 'It learns to write "Gulls rest here, a too."')
