"""The watch screen on runs of every kind: what it shows, and what its keys do to the run."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.core.machine import GpuSample
from fitune.core.runs import Memory, Phase, RunState, Sample, Step
from fitune.core.runs.run import Run
from fitune.tui.app import FituneApp
from fitune.tui.deliver.options import OPTIONS
from fitune.tui.deliver.screen import DeliverScreen
from fitune.tui.text.clean import clean
from fitune.tui.watch import actions
from fitune.tui.watch.actions import command_of
from fitune.tui.watch.ending import ending
from fitune.tui.watch.screen import WatchScreen
from fitune.tui.watch.screen_text import PROMISE, Snapshot, cards, details, memory, status
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog
from fitune.tui.widgets.leave import LeaveScreen
from fitune.tui.wizard.draft import shown as shown_field
from fitune.tui.wizard.screens.edit import EditScreen
from fitune.tui.wizard.screens.start import StartScreen
from tests.fake_worker import make_run, start
from tests.tui.payloads import OBEYED, PAYLOADS


def shown(app: App[int]) -> str:
    """The text on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def shows(app: App[int], text: str) -> Callable[[], bool]:
    """The condition that a text is on the screen."""
    return lambda: text in shown(app)


async def until(pilot: Pilot[int], met: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, shown(pilot.app)
        await asyncio.sleep(0.05)
        await pilot.pause()
    await pilot.pause(0.05)


@asynccontextmanager
async def watching(
    run: Path, first: str, size: tuple[int, int] = (80, 24), plain: bool = False
) -> AsyncIterator[tuple[FituneApp, Pilot[int]]]:
    """An app that watches a run, once `first` is on the screen."""
    app = FituneApp(run=Run(run), plain_glyphs=plain)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: first in shown(app))
        yield app, pilot


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run whose worker, if its test starts one, ends with the test."""
    run = make_run(tmp_path)
    yield run
    Run(run).kill()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ok", ["OK  finished", "step 6 of 6", "held-out 1.154", "Finished: 6 steps", "A question from the data"]),
        ("oom", ["ERROR  failed", "out of memory", "Lower train.micro_batch", "predicted 7.7 GiB"]),
        ("nan", ["ERROR  failed", "loss NaN", "Halve train.lr"]),
        ("killed", ["ERROR  killed", "Killed at step 44", "no last event"]),
        ("torn", ["ERROR  killed", "Killed at step 11"]),
    ],
)
async def test_check_39_every_end_is_shown_in_words(tmp_path: Path, name: str, words: list[str]) -> None:
    async with watching(make_run(tmp_path, told=name), words[0]) as (app, pilot):
        for word in words:
            await until(pilot, shows(app, word))


async def test_check_39_a_killed_run_names_its_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="killed")
    (run / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    async with watching(run, "Go on from step 30: fitune resume run-a"):
        pass


async def test_a_live_run_shows_its_newest_step_and_then_its_end(live: Path) -> None:
    worker = start(live, "steps:60", "--rate", "30")
    async with watching(live, "training   step") as (app, pilot):
        await until(pilot, lambda: "measured 7.6 GiB, predicted 7.7 GiB" in shown(app))
        await until(pilot, lambda: "OK  finished" in shown(app))
        await until(pilot, lambda: "step 60 of 60" in shown(app))
    assert worker.wait(60) == 0


async def test_a_run_that_ends_under_the_eyes_of_its_user_is_announced(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("fitune.tui.watch.screen.announce", lambda app, text: said.append(text))
    worker = start(live, "steps:30", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await until(pilot, lambda: "OK  finished" in shown(app))
        await pilot.pause(0.5)
    assert said == [f"{live.name} finished"]
    worker.wait(60)
    async with watching(live, "OK  finished"):
        pass
    assert len(said) == 1, "one that has ended before is not"


def test_before_the_first_step_it_is_promised_that_the_run_needs_no_window() -> None:
    state = RunState()
    assert PROMISE in details(Snapshot("running", state), 77, 0.0).plain
    assert len(PROMISE) <= 77
    state.step = Step(step=1, loss=2.0)
    assert PROMISE not in details(Snapshot("running", state), 77, 0.0).plain


@pytest.mark.parametrize("phase", ["sample", "save", "score", "pairs", "probe"])
def test_what_follows_the_last_step_fits_a_narrow_line_with_its_time(phase: str) -> None:
    state = RunState(phase=Phase(name=phase), started_t=1000.0, step=Step(step=1000, loss=2.0, epoch=12.34))
    line = status(Snapshot("running", state, total_steps=1000, left="about 12 min 05 s left"), 1000.0 + 3725).plain
    assert line.endswith("1 h 02 min, about 12 min 05 s left")
    assert len(line) <= 78
    assert "step 1,000 of 2,000" in status(Snapshot("running", state, total_steps=2000), 1000.0).plain


def test_each_of_several_cards_has_its_line() -> None:
    state = RunState(memory=Memory(peak_device=2**31, predicted=2**31))
    state.memory_beside[1] = Memory(card=1, peak_device=2**32, predicted=2**31)
    first, second = memory(Snapshot("running", state), False).plain.split("\n")
    assert re.fullmatch(r"memory .*measured 2.0 GiB, predicted 2.0 GiB   \+0.0 %", first)
    assert re.fullmatch(r"card 2 .*measured 4.0 GiB, predicted 2.0 GiB   \+100.0 % WARN", second)
    loads = [GpuSample(f"GPU-{n}", 2**34, 2**33, 2**33, 90 + n, 60, 300.0) for n in range(2)]
    lines = cards(loads).plain.split("\n")
    assert [line.split()[:2] for line in lines] == [["card", "1"], ["card", "2"]]
    assert "91 % busy" in lines[1]
    assert cards(loads[:1]).plain.split()[1] == "8.0"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"peak_device": 2**30, "peak_host": 2**31}, "memory +measured 1.0 GiB, nothing was predicted"),
        ({"peak_host": 2**31, "predicted": 2**30}, r"host RAM .*measured 2.0 GiB, predicted 1.0 GiB   \+100.0 % WARN"),
        ({"peak_host": 2**31, "predicted": None}, "host RAM +measured 2.0 GiB, nothing was predicted"),
        ({}, ""),
    ],
)
def test_what_was_measured_stands_beside_what_was_predicted(told: dict[str, Any], words: str) -> None:
    said = memory(Snapshot("running", RunState(memory=Memory(**{"predicted": None, **told}))), False).plain
    assert re.fullmatch(words, said)
    assert len(said) < 80


def test_a_model_that_answered_nothing_is_said_to() -> None:
    state = RunState(samples=[Sample(step=0, prompt="What is 3 + 3?", before="", after=None)])
    assert "before      (nothing: it ended at once)" in details(Snapshot("running", state), 77, 0.0).plain


async def test_a_worker_without_a_sign_of_life_is_told(live: Path) -> None:
    worker = start(live, "killed", "--rate", "500", "--then", "hang", "--silent")
    past_s = time.time() - 60
    os.utime(live / "lock", (past_s, past_s))
    async with watching(live, "WARN  no sign of life for 1 min"):
        pass
    worker.kill()


async def test_check_42_time_left_is_told_and_elapsed_survives(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "12")
    async with watching(live, "about"):
        pass
    async with watching(live, "s left") as (app, pilot):
        await until(pilot, lambda: "about" not in shown(app))
        elapsed = shown(app).splitlines()[1].split("epoch")[1].split()[1]
        assert int(elapsed) >= 2, "told from the first event, not from when this screen came up"
    worker.kill()


async def test_check_23_leaving_asks_and_a_second_ctrl_c_never_kills(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen) and app.focused is not None)
        assert app.focused is app.screen.query_one("#detach")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
        await pilot.press("ctrl+q", "ctrl+c")
        await until(pilot, lambda: not app.is_running)
    assert worker.poll() is None
    assert not (live / "stop").exists()
    worker.kill()


async def test_check_23_leaving_can_stop_with_a_checkpoint(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await pilot.press("ctrl+c", "down", "enter")
        await until(pilot, lambda: "OK  stopped" in shown(app))
    assert worker.wait(60) == 0


async def test_check_16_killing_needs_a_second_answer_and_enter_is_the_safe_one(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await pilot.press("k")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))
        assert worker.poll() is None
        await pilot.press("k")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "WARN  killed" in shown(app))
        await until(pilot, lambda: ", as you asked." in shown(app))
    assert worker.wait(60) != 0


async def test_stop_is_confirmed_and_writes_a_checkpoint(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "OK  stopped" in shown(app))
        await until(pilot, lambda: "Go on from step" in shown(app))
    assert worker.wait(60) == 0


def test_the_keys_are_shown_anew_where_a_training_comes_behind_its_last_step() -> None:
    before, behind = (Snapshot("running", RunState(steps_are_done=done)) for done in (False, True))
    assert (actions.can_stop(before), actions.can_stop(behind)) == (True, False)
    assert before.decides_keys != behind.decides_keys


async def test_behind_its_last_step_a_training_offers_no_stop(live: Path) -> None:
    worker = start(live, "scored", "--rate", "500", "--then", "hang")
    async with watching(live, "scoring it beside the base model") as (app, pilot):
        (live / "adapter").mkdir()
        (live / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
        await pilot.press("s")
        await pilot.pause()
        assert " Stop" not in shown(app).splitlines()[-1]
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        assert "Stop after this step" not in shown(app)
        await pilot.press("escape", "k")
        await until(pilot, lambda: "its adapter is saved; its score" in shown(app))
    worker.kill()
    worker.wait()


async def test_detach_leaves_the_run_alone(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await pilot.press("d")
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 0
    assert worker.poll() is None
    worker.kill()


async def test_resume_starts_the_worker_and_a_refusal_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, told="killed")
    (run / "checkpoints" / "checkpoint-30").mkdir(parents=True)

    def refuse(run: Run, job: str) -> str:
        raise UserError("The card is held by [/INST].", "Wait.")

    monkeypatch.setattr(jobs, "start", refuse)
    async with watching(run, "ERROR  killed") as (app, pilot):
        await pilot.press("r")
        await until(pilot, lambda: "Starting again from the last" in shown(app))
        await until(pilot, lambda: "held by [/INST]" in shown(app))
        (run / "checkpoints" / "checkpoint-30").rmdir()
        monkeypatch.setattr(jobs, "start", lambda at, job: str(start(at.path, "steps:400", "--rate", "20").pid))
        await pilot.press("r")
        await until(pilot, lambda: "beginning" in shown(app))
        await until(pilot, lambda: "training   step" in shown(app))
        pid = Run(run).holder_pid()
        assert pid
        Run(run).kill()


async def test_a_note_is_kept_with_time_and_step(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await pilot.press(*"sk d")  # check 36: letters are text here, not keys
        await pilot.press("enter")
        notes = run / "notes.txt"
        await until(pilot, lambda: notes.exists() and notes.read_text().endswith("  step 6  sk d\n"))


async def test_the_log_pane_shows_the_end_of_the_log(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "worker.log").write_text("\n".join(f"line {n}" for n in range(40)) + "\n 10%\r 99%\n\x1b[2Jnasty\n")
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: "␛[2Jnasty" in shown(app))
        await until(pilot, lambda: " 99%" in shown(app))
        await until(pilot, lambda: "line 39" in shown(app))
        assert "line 20" not in shown(app)
        await pilot.press("l")
        await until(pilot, lambda: "nasty" not in shown(app))


async def test_check_40_two_screens_show_the_same_step(live: Path) -> None:
    worker = start(live, "killed", "--rate", "200", "--then", "hang")
    async with watching(live, "step 44 of 300") as (one, _), watching(live, "step 44 of 300") as (other, _):
        deadline = time.monotonic() + 60
        while shown(one).splitlines()[3:] != shown(other).splitlines()[3:]:
            assert time.monotonic() < deadline, "the same chart and numbers on both"
            await asyncio.sleep(0.1)
    worker.kill()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
@pytest.mark.parametrize("name", ["ok", "oom", "killed"])
async def test_check_28_title_keys_and_words_fit_every_size(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    async with watching(make_run(tmp_path, told=name), "fitune", size) as (app, pilot):
        await until(pilot, lambda: "loss" in shown(app) and "Close" in shown(app).splitlines()[-1])
        await until(pilot, lambda: "fitune  run-a" in shown(app).splitlines()[0])
        assert not app.screen.show_horizontal_scrollbar
        assert app.focused is not None


@pytest.mark.parametrize("columns", [80, 100, 104, 110, 120])
async def test_the_last_key_is_never_covered_by_that_of_all_commands(tmp_path: Path, columns: int) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "fitune", (columns, 30)) as (app, pilot):
        await until(pilot, lambda: "Use it" in shown(app))
        last = shown(app).splitlines()[-1]
        assert "Quit" in last
        assert ("All commands" in last) is (columns >= 110)


async def test_check_29_resizing_keeps_focus_and_says_when_it_is_too_small(tmp_path: Path) -> None:
    async with watching(make_run(tmp_path, told="ok"), "OK  finished") as (app, pilot):
        focused = app.focused
        for size, word in (((60, 15), "need 80x24"), ((200, 50), "step 6 of 6"), ((40, 12), "need 80x24")):
            await pilot.resize_terminal(*size)
            await until(pilot, shows(app, word))
        assert app.focused is focused
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)


async def test_check_32_status_is_never_colour_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with watching(make_run(tmp_path, told="ok"), "OK  finished") as (app, pilot):
        await until(pilot, lambda: "WARN The Hub is out of reach" in shown(app))


async def test_check_30_basic_terminals_get_ascii_only(tmp_path: Path) -> None:
    async with watching(make_run(tmp_path, told="killed"), "ERROR  killed", plain=True) as (app, pilot):
        await until(pilot, lambda: "** training" in shown(app))
        assert not [each for each in shown(app) if 0x2500 <= ord(each) <= 0x28FF and each not in "▏│"]


@pytest.mark.parametrize(
    ("told", "keys"),
    [
        ("ok", {"esc", "q", "c", "u", "p", "l", "z", "n", "?"}),
        ("killed", {"esc", "q", "r", "l", "z", "n", "?"}),
        ("oom", {"esc", "q", "r", "l", "z", "n", "?"}),
    ],
)
async def test_check_35_the_footer_shows_only_keys_that_work(tmp_path: Path, told: str, keys: set[str]) -> None:
    run = make_run(tmp_path, told=told)
    if told == "ok":
        (run / "adapter").mkdir()
        (run / "adapter" / "adapter_model.safetensors").touch()
    if told == "killed":
        (run / "checkpoints" / "checkpoint-30").mkdir(parents=True)
    async with watching(run, "Close") as (app, _):
        offered = {key.key_display for key in app.screen.query_one(Footer).query(FooterKey)}
        assert offered - {"^c", "^p"} == keys


@pytest.mark.parametrize("payload", [" ".join(PAYLOADS[n::5]) for n in range(5)], ids=range(5))
async def test_check_37_no_payload_reaches_the_screen(tmp_path: Path, payload: str) -> None:
    info: dict[str, Any] = {
        "recipe": {"model": {"id": payload}},
        "gpu": {"uuid": payload, "name": payload},
        "host": payload,
    }
    run = make_run(tmp_path, **info)
    (run / "worker.log").write_text(payload)
    (run / "lock").touch()
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    events = [
        ("started", {"device": payload}),
        ("phase", {"name": payload, "total_steps": payload}),
        ("step", {"step": payload, "loss": payload, "lr": payload, "epoch": payload}),
        ("warning", {"message": payload}),
        ("sample", {"prompt": payload, "before": payload, "after": payload, "reference": payload}),
        ("memory", {"peak_device": payload, "predicted": payload}),
        ("failed", {"kind": payload, "message": payload, "hint": payload}),
    ]
    with (run / "events.jsonl").open("w") as file:
        for seq, (kind, data) in enumerate(events):
            file.write(json.dumps({"v": 1, "seq": seq, "t": 1.0, "job": "train", "type": kind, "data": data}) + "\n")
    async with watching(run, "ERROR  failed", (120, 40)) as (app, pilot):
        await pilot.press("l")
        await until(pilot, lambda: clean(payload)[:30] in shown(app))
        assert not OBEYED.search(shown(app))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen) and "needs" in shown(app))
        for _ in OPTIONS:
            assert not OBEYED.search(shown(app))
            await pilot.press("down")


async def test_deliver_shows_each_way_and_esc_goes_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"x" * 3_000_000)
    async with watching(run, "Use it") as (app, pilot):
        await pilot.press("u")
        for way in OPTIONS:
            await until(pilot, shows(app, way.what))
            await pilot.press("down")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, WatchScreen))


async def test_chat_has_the_key_that_it_has_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Run] = []
    monkeypatch.setattr(actions, "chat", lambda app, run: opened.append(run))
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "Use it") as (app, pilot):
        await pilot.press("c")
        await until(pilot, lambda: bool(opened))
        assert "c Chat u Use it" in shown(app)
    assert opened == [Run(run)]


async def test_preferences_begin_with_what_was_learnt_which_is_merged_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Run] = []
    monkeypatch.setattr(jobs, "merge", begun.append)
    run = make_run(tmp_path, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    async with watching(run, "p Prefer") as (app, pilot):
        await pilot.press("p")
        await until(pilot, shows(app, "first made into one ordinary model"))
        await pilot.press("right", "enter")
        await until(pilot, lambda: begun == [Run(run)])
        (run / "merged").mkdir()
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, EditScreen))
        assert isinstance(app.screen, EditScreen)
        draft = app.screen.draft
        assert (shown_field(draft, "model.id"), shown_field(draft, "train.objective")) == (str(run / "merged"), "dpo")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))


async def test_check_26_no_handler_blocks_the_loop(live: Path) -> None:
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (_, pilot):
        held_s = []
        for _ in range(3):  # the best of three: other programs share this processor
            held_s.append(await gap_s())
            if held_s[-1] < 0.12:
                break
        await pilot.pause()
    worker.kill()
    assert min(held_s) < 0.12


async def gap_s() -> float:
    """The loop's 97th percentile of seconds between two turns that were to be 0.02 s apart, of 150."""
    gaps_s, before_s = [], time.monotonic()
    for _ in range(150):
        await asyncio.sleep(0.02)
        now_s = time.monotonic()
        gaps_s.append(now_s - before_s)
        before_s = now_s
    return sorted(gaps_s)[145]


async def test_escape_leads_to_the_first_screen_and_the_run_goes_on(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITUNE_HOME", str(live.parent.parent))
    worker = start(live, "steps:400", "--rate", "20")
    async with watching(live, "training   step") as (app, pilot):
        await pilot.press("escape")
        await until(pilot, lambda: re.search(rf"{live.name} +running", shown(app)) is not None)
        await pilot.press("enter")
        await until(pilot, shows(app, "training   step"))
    assert worker.poll() is None


async def test_a_note_is_confirmed_and_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, told="ok")
    async with watching(run, "OK  finished") as (app, pilot):
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, AskDialog))
        await pilot.press(*"lower rate", "enter")
        await until(pilot, shows(app, "The note is kept"))
        await until(pilot, lambda: re.search(r"Note  20\d\d.*step 6  lower rate", shown(app)) is not None)


@pytest.mark.parametrize(("told", "command"), [("ok", "fitune resume run-a"), ("killed", "fitune resume run-a")])
def test_y_copies_the_command_that_is_shown(tmp_path: Path, told: str, command: str) -> None:
    run = Run(make_run(tmp_path, told=told))
    state = run.state()
    assert command_of(run, Snapshot("running", state)) == "fitune watch run-a"
    assert command_of(run, Snapshot(run.status(state), state, ending=ending(run, run.status(state), state))) == command
