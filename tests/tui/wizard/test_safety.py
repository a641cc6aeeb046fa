"""What must never happen: a blocked loop, a lost value, a leaked secret, a screen that doesn't fit."""

import asyncio
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from textual.command import CommandPalette

from fitune.core import jobs
from fitune.core.data import dataset
from fitune.core.errors import BadInput, UserError
from fitune.core.machine import host
from fitune.core.machine.host import Gpu, Machine
from fitune.core.recipe import load
from fitune.core.recipe.data_fields import Data
from fitune.core.units import GIB
from fitune.tui.data.paths import complete_path
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, draft_file, recipe, restore, save
from fitune.tui.wizard.options import start_choices
from fitune.tui.wizard.review_text import write_recipe
from fitune.tui.wizard.screens.start import StartScreen
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.field_input import FieldInput
from tests.tui.payloads import OBEYED, PAYLOADS
from tests.tui.wizard.wizard_kit import Wizard, settle, until

At = Callable[..., Wizard]
ALL = [step.name for step in steps.STEPS]


@pytest.mark.parametrize("name", ALL)
async def test_check_26_no_callback_holds_the_loop_for_100_ms(
    at_step: At, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns_s: list[float] = []
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        began_s = time.thread_time()
        run(handle)
        turns_s.append(time.thread_time() - began_s)

    app = at_step(name)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        monkeypatch.setattr(asyncio.events.Handle, "_run", timed)
        slowest_s = []
        for _ in range(3):  # the best of three: other programs share this processor
            turns_s.clear()
            await pilot.press(
                "down", "2", "down", "right", "up", "ctrl+o", "backspace", "up"
            )  # none changes the screen
            await settle(pilot)
            slowest_s.append(max(turns_s))
        monkeypatch.undo()
    assert min(slowest_s) < 0.1


async def test_checks_26_and_27_a_slow_look_at_the_machine_shows_seconds_and_holds_nothing_up(
    wizard: At, monkeypatch: pytest.MonkeyPatch, this_machine: Machine
) -> None:
    seen = threading.Event()

    def slow(runs_dir: Path | None = None) -> Machine:
        assert seen.wait(60)
        return this_machine

    monkeypatch.setattr(host, "detect", slow)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, re.compile(r"Looking at this machine \.\.\. [1-9]\d* s"))  # a stalled machine may skip 1
        seen.set()
        await settle(pilot)
        assert "NVIDIA L4: 11.5 GiB of 12.0 GiB free" in app.shown()


async def test_check_27_a_long_reading_tells_how_far_it_is_and_esc_leaves_it(
    at_step: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def endless(data: Data, sample: int, on_progress: Callable[[int, int], None]) -> None:
        try:
            for done in range(6000):
                time.sleep(0.01)
                on_progress(done, 6000)
        finally:
            ended.append(data.source)

    monkeypatch.setattr(dataset, "inspect", endless)
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(app, "Reading all rows: ")
        await pilot.press("escape")
        await settle(pilot)
        assert app.step.NAME == "edit"
        assert ended == ["rows.jsonl"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("name", ALL)
async def test_check_28_title_focus_and_keys_are_there_and_nothing_scrolls_sideways(
    at_step: At, name: str, size: tuple[int, int]
) -> None:
    app = at_step(name, edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await until(app, "? Help")
        lines = app.shown().splitlines()
        assert "fitune" in lines[0]
        assert "Help" in lines[-1]
        assert max(map(len, lines)) <= size[0]
        focused = app.screen.focused
        assert focused is not None
        assert app.screen.region.contains_region(focused.region)
        assert not [each for each in app.screen.query("*").exclude("Input") if each.show_horizontal_scrollbar]


@pytest.mark.parametrize("name", ALL)
async def test_check_29_resizing_keeps_the_focus_and_says_what_is_too_small(at_step: At, name: str) -> None:
    app = at_step(name)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        focused = app.screen.focused
        await pilot.press("1")
        await pilot.resize_terminal(60, 15)
        await pilot.pause()
        assert "terminal too small (need 80x24)" in app.shown()
        assert f"{app.step.step.title}, " in app.shown()
        assert app.step.forecast.known is None or "to spare" in app.shown()
        await pilot.resize_terminal(200, 50)
        await pilot.pause()
        assert "too small" not in app.shown()
        assert app.screen.focused is focused
        await pilot.resize_terminal(40, 10)
        await pilot.press("ctrl+c", *(["right", "enter"] if app.step.draft.edits else []))  # asks, if asked for
        await pilot.pause()
    assert app.return_code == 0


def test_check_18_a_written_recipe_is_read_back_as_the_same_answers(this_machine: Machine) -> None:
    edits = {"data.source": "rows.jsonl", "lora.r": "64", "lora.target_modules": "q_proj, v_proj", "train.lr": "3e-5"}
    first = recipe(Draft(preset="8b-on-12gb", edits=edits))
    path = Path("recipe.toml")
    path.write_text(load.to_toml(first))
    assert load.load(path) == first
    again = Draft(answers=load.load(path).model_dump(mode="json"))
    assert recipe(again) == first
    assert "version = 1" in path.read_text()
    path.write_text(path.read_text().replace("[lora]", "[lora]\nrnk = 3"))
    with pytest.raises(BadInput, match=r"recipe\.toml:\d+: lora\.rnk"):
        load.load(path)


@pytest.mark.usefixtures("this_machine")
def test_a_written_recipe_names_the_file_that_it_is(tmp_path: Path) -> None:
    draft = Draft(preset="8b-on-12gb", edits={"data.source": "rows.jsonl"})
    for name in ("recipe.toml", "recipe-2.toml"):
        path = write_recipe(draft, tmp_path)
        assert (path.name, path.read_text().splitlines()[0]) == (name, f"# fitune train {name}")


def test_check_21_the_kept_draft_is_private_and_has_no_place_for_a_token(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    save(Draft(preset="8b-on-12gb", edits={"lora.r": "64"}), "data", home)
    assert draft_file(home).stat().st_mode & 0o777 == 0o600
    assert b"hf_" not in draft_file(home).read_bytes()
    assert set(orjson.loads(draft_file(home).read_bytes())) == {
        "version",
        "step",
        "preset",
        "model",
        "answers",
        "edits",
        "card_gib",
    }


async def test_check_21_a_fault_is_a_sentence_and_a_file_without_values(
    wizard: At, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: StartScreen, event: object) -> None:
        token = "hf_" + "s" * 30
        raise RuntimeError(f"with {token}")

    monkeypatch.setattr(StartScreen, "on_start_screen_looked", broken)
    app = wizard()
    with pytest.raises(RuntimeError):
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
    assert app.return_code == 1
    assert "RuntimeError" in (home / "crash.txt").read_text()
    assert "hf_s" not in (home / "crash.txt").read_text()
    printed = "".join(capsys.readouterr())
    assert "crash.txt" in printed.replace("\n", "")
    assert "hf_s" not in printed


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"version": 9}', b'{"version":1,"preset":"gone","edits":{}}'])
def test_a_draft_that_cannot_be_understood_is_as_good_as_none(home: Path, broken: bytes) -> None:
    home.mkdir(exist_ok=True)
    draft_file(home).write_bytes(broken)
    assert restore(home) is None
    assert [choice.kind for choice in start_choices(home, begun=False)] == ["new"]


async def test_check_37_hostile_text_is_shown_and_never_obeyed_at_any_step(at_step: At, this_machine: Machine) -> None:
    nasty = " ".join(PAYLOADS)
    rows = Path(f"evil {PAYLOADS[9][:12]}.jsonl")
    rows.write_bytes(b"".join(orjson.dumps({"question": each, "answer": each, each: 1}) + b"\n" for each in PAYLOADS))
    card = Gpu(0, "GPU-x", f"card {nasty}", 12 * GIB, 12 * GIB, 0, compute_capability=(8, 9))
    for name in ALL:
        app = at_step(
            name,
            machine=Machine(gpus=(card,), gpu_state="ok", gpu_message=nasty, versions=this_machine.versions),
            edits={"data.source": str(rows), "run.name": nasty},
            answers={"model": {"id": f"x/{nasty}"}} if name != "preset" else {},
        )
        async with app.run_test(size=(120, 40)) as pilot:
            await settle(pilot)
            assert not OBEYED.search(app.shown().replace("\n", ""))
            await pilot.press("question_mark")
            await pilot.pause()
            assert not OBEYED.search(app.shown().replace("\n", ""))


async def test_hostile_rows_are_shown_letter_by_letter(at_step: At) -> None:
    Path("evil.jsonl").write_bytes(
        b"".join(orjson.dumps({"question": each, "answer": "fine"}) + b"\n" for each in PAYLOADS[:5])
    )
    app = at_step("data", edits={"data.source": "evil.jsonl"})
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await pilot.press(*["tab"] * 4)
        for each in PAYLOADS[:5]:
            assert each in app.shown()


async def test_a_run_that_cannot_start_says_why_and_can_be_tried_again(
    at_step: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("NVIDIA L4 is held by the run [/INST].", "Stop it.")

    monkeypatch.setattr(jobs, "begin", refuse)
    app = at_step("review", edits={"data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for _ in range(2):
            await pilot.press("enter")
            await settle(pilot)
            assert "ERROR NVIDIA L4 is held by the run [/INST]. Stop it." in app.shown()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no row"),
        ("{broken\n", "ERROR"),
        ('{"chosen": "a", "rejected": "b"}\n' * 3, "preference"),
        (None, "There is no file or folder gone.jsonl"),
    ],
)
async def test_rows_that_cannot_be_trained_on_hold_the_step(at_step: At, content: str | None, told: str) -> None:
    if content is not None:
        Path("gone.jsonl").write_text(content)
    app = at_step("data", edits={"data.source": "gone.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert told in app.shown()
        await pilot.press("enter")
        await settle(pilot)
        assert app.step.NAME == "data"
        assert "ERROR" in app.shown()


async def test_a_mapping_is_chosen_from_the_list_where_the_columns_are_unsure(at_step: At) -> None:
    rows = [{"alpha": f"What is {n}?", "beta": f"It is the number {n}, of course."} for n in range(40)]
    Path("odd.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    app = at_step("data", edits={"data.source": "odd.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        report = app.step.draft.report
        assert report is not None
        assert not report.sure
        assert report.candidates
        await pilot.press("enter")  # the worker would refuse a guess, after the model is fetched
        await settle(pilot)
        assert "ERROR First say what is meant: Down and Enter choose." in app.shown()
        await pilot.press("down", "enter")
        await settle(pilot)
        assert "data.columns" in app.step.draft.edits
        assert recipe(app.step.draft).data.columns == dict(report.candidates[0])
        await pilot.press("enter")
        await settle(pilot)
        assert app.step.NAME == "review"


async def test_the_command_palette_opens_and_knows_help(at_step: At) -> None:
    app = at_step("edit")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p")
        await pilot.pause()
        assert isinstance(app.screen, CommandPalette)
        await pilot.press("escape")
        names = {command.title for command in app.get_system_commands(app.screen)}
        assert {"Help", "Theme", "Keys", "Quit"} <= names


@pytest.mark.parametrize("step", ["edit", "data", "review"])
async def test_a_model_whose_size_is_nowhere_is_told_in_the_panel(
    at_step: At, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(model: str, revision: str | None) -> None:
        raise UserError(f"{model} is not on the Hub.", "Check the spelling.")

    monkeypatch.setattr("fitune.tui.wizard.screens.step.learn", refuse)
    app = at_step(step, edits={"model.id": "no/such", "data.source": "rows.jsonl"})
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        panel = app.screen.query_one(BudgetPanel)
        for _ in range(1200):
            if "no/such is not on the Hub" in str(panel.render()):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(panel.render())


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ro", "rows.jsonl"),
        ("rows.jsonl", "rows.jsonl"),
        ("x", "x"),
        ("sub", "sub/"),
        ("sub/", "sub/only.csv"),
        ("", ""),
        ("~nobody-of-that-name/x", "~nobody-of-that-name/x"),
    ],
)
def test_a_path_is_completed_as_far_as_it_is_clear(home: Path, typed: str, completed: str) -> None:
    Path("sub").mkdir()
    Path("sub/only.csv").write_text("a,b\n")
    assert complete_path(typed) == completed


async def test_right_takes_the_completion(at_step: At) -> None:
    app = at_step("data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(*"ro")
        await pilot.pause(0.1)
        await pilot.press("right")
        assert app.screen.query_one(FieldInput).value == "rows.jsonl"
