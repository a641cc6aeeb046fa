"""Home: every run with its state, and what its keys do to the one in hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.app import FituneApp
from fitune.tui.chat.screen import ChatScreen
from fitune.tui.deliver.screen import DeliverScreen
from fitune.tui.home.actions import question
from fitune.tui.home.compare_screen import CompareScreen
from fitune.tui.home.run_rows import RunReader
from fitune.tui.watch.screen import WatchScreen
from fitune.tui.widgets.dialogs import AskDialog, ConfirmDialog
from tests.fake_worker import make_run, start
from tests.tui.conftest import Fitune
from tests.tui.watch.test_screen import until
from tests.tui.wizard.wizard_kit import Wizard, settle

New = Callable[..., Wizard]


@pytest.fixture
def three(home: Path) -> Path:
    """Runs that were killed, failed, and finished with an adapter and a note, the last the newest."""
    for name in ("killed", "oom", "ok"):
        path = make_run(home, f"run-{name}", told=name)
        (path / "worker.log").write_text("nothing\n")
    (path / "adapter").mkdir()
    (path / "adapter" / "adapter_model.safetensors").write_bytes(bytes(2048))
    (path / "notes.txt").write_text("2026-11-22 10:00  step 6  the rate was too high\n")
    return home


async def test_every_run_is_listed_with_state_progress_and_loss(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        lines = {line.split()[0]: line for line in app.shown().splitlines() if line.strip().startswith("run-")}
        assert list(lines) == ["run-ok", "run-oom", "run-killed"]
        assert lines["run-ok"].split()[1] == "finished"
        assert "6/6" in lines["run-ok"]
        assert "44/300" in lines["run-killed"]
        assert "the rate was too high" not in app.shown(), "the way to a new run is in hand"
        await pilot.press("down")
        await settle(pilot)
        assert "Note  2026-11-22 10:00  step 6  the rate was too high" in app.shown()


async def test_runs_of_one_day_and_model_are_told_apart_in_few_columns(wizard: New, home: Path) -> None:
    for end in ("0e3a", "8105"):
        make_run(home, f"2026-11-30-smollm2-135m-instruct-{end}", told="ok")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert re.findall(r"^ (2026\S+) +finished", app.shown(), re.MULTILINE) == [
            "2026-11-30-smollm2..truct-8105",
            "2026-11-30-smollm2..truct-0e3a",
        ]


async def test_a_tall_terminal_shows_the_losses_of_the_run_in_hand(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "held-out" not in app.shown()
        await pilot.press("down")
        await settle(pilot)
        assert "● held-out" in app.shown()
        assert "step 6" in app.shown()
        await pilot.press("end")
        await settle(pilot)
        assert "step 300" in app.shown()
        await pilot.press("home")
        await settle(pilot)
        assert "held-out" not in app.shown()


async def test_without_runs_home_says_what_comes(wizard: New) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "No runs yet." in app.shown()
        assert "fitune demo" in app.shown()


async def test_keys_are_shown_for_the_run_in_hand_only_where_they_work(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Resume" not in (footer := app.shown().splitlines()[-1])
        assert "Delete" not in footer
        await pilot.press("down")
        await settle(pilot)
        assert all(word in app.shown().splitlines()[-1] for word in ("Chat", "Use it", "Compare", "Note", "Delete"))
        assert "Resume" not in app.shown().splitlines()[-1]
        await pilot.press("down")
        await settle(pilot)
        assert "Resume" in app.shown().splitlines()[-1]
        assert "Use it" not in app.shown().splitlines()[-1]


async def test_a_filter_leaves_the_runs_that_hold_all_its_words(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"smol killed")
        await settle(pilot)
        assert "run-killed" in app.shown()
        assert "run-ok" not in app.shown()
        await pilot.press(*"zz")
        await settle(pilot)
        assert "No run holds these words" in app.shown()
        await pilot.press("backspace", "backspace", "enter", "enter")
        await settle(pilot)
    assert app.begun is not None
    assert app.begun.name == "run-killed"


async def test_esc_ends_the_filter(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"killed", "escape")
        await settle(pilot)
        assert all(name in app.shown() for name in ("run-ok", "run-oom", "run-killed", "Start a new fine-tune"))
        assert app.focused is app.screen.query_one("#choices")


async def test_deleting_names_what_goes_and_keeps_it_unless_confirmed(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "x")
        await settle(pilot)
        assert isinstance(app.screen, ConfirmDialog)
        assert "Delete the run run-ok for good?" in app.shown()
        assert "its adapter 2.0 KiB" in app.shown()
        await pilot.press("enter")
        await settle(pilot)
        assert (three / "runs" / "run-ok").is_dir()
        await pilot.press("x", "right", "enter")
        await settle(pilot)
        assert not (three / "runs" / "run-ok").exists()
        assert "run-oom" in app.shown()
        assert " run-ok " not in app.shown()


def test_a_run_at_work_is_neither_deleted_nor_renamed(three: Path) -> None:
    run = make_run(three, "run-live")
    worker = start(run, "steps:300", "--rate", "20")
    for act in (lambda: runs.delete(Run(run)), lambda: runs.rename(Run(run), "other")):
        with pytest.raises(UserError, match="is at work"):
            act()
    worker.kill()
    worker.wait()
    assert run.is_dir()


async def test_a_run_gets_another_name_and_keeps_its_place(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down", "down", "f2")
        await settle(pilot)
        assert isinstance(app.screen, AskDialog)
        await pilot.press("home", *"no/", "enter")
        await settle(pilot)
        assert "is no name for a run" in app.shown()
        await pilot.press("backspace", "enter")
        await settle(pilot)
        lines = [line.split()[0] for line in app.shown().splitlines() if "/" in line and "run-" in line]
        assert lines == ["run-ok", "norun-oom", "run-killed"]
    assert json.loads((three / "runs" / "norun-oom" / "run.json").read_text())["name"] == "norun-oom"
    with pytest.raises(UserError, match="There is a run named run-ok already"):
        runs.rename(Run(three / "runs" / "norun-oom"), "run-ok")


async def test_two_runs_are_compared_side_by_side(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("down", "v")
        await settle(pilot)
        assert "run-ok is marked with *" in app.shown()
        await pilot.press("down", "v")
        await settle(pilot)
        assert isinstance(app.screen, CompareScreen)
        assert all(
            words in app.shown() for words in ("loss of run-ok", "loss of run-oom", "held-out loss, last", "failed")
        )
        await pilot.press("escape")
        await settle(pilot)
        assert app.step.NAME == "start"


async def test_a_note_is_kept_and_seen_in_the_list(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("down", "down", "n", *"too large", "enter")
        await settle(pilot)
        assert "The note is kept" in app.shown()
        assert "step 2  too large" in app.shown()


async def test_use_and_chat_open_on_the_run_and_esc_comes_back(
    wizard: New, three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatScreen, "listen", lambda self: None)
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down")
        for key, screen in (("c", ChatScreen), ("u", DeliverScreen)):
            await pilot.press(key)
            await settle(pilot)
            assert isinstance(app.screen, screen)
            await pilot.press("escape")
            await settle(pilot)
            assert app.step.NAME == "start"


async def test_esc_leads_from_a_watched_run_to_home(three: Path, this_machine: object) -> None:
    app = FituneApp(run=Run(three / "runs" / "run-ok"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert isinstance(app.screen, WatchScreen)
        await pilot.press("escape")
        await until(pilot, lambda: getattr(app.screen, "NAME", "") == "start")


def test_a_run_is_read_again_only_when_it_has_changed(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = RunReader(three)
    before = reader.read()
    (three / "runs" / "run-oom" / "notes.txt").write_text("2026-11-22 10:00  step 2  once more\n")
    after = reader.read()
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert after[1].told.note == "2026-11-22 10:00  step 2  once more"


def test_what_is_deleted_is_told_part_by_part(three: Path) -> None:
    run = Run(three / "runs" / "run-ok")
    (run.path / "merged").mkdir()
    (run.path / "merged" / "model.safetensors").write_bytes(bytes(3 << 20))
    said = question(run, runs.sizes(run))
    assert "its merged model 3.0 MiB" in said
    assert "its checkpoints" not in said
    assert str(run.path) in said
    assert "need it" not in said
    file = three / "runs" / "run-oom" / "run.json"
    info = json.loads(file.read_bytes())
    info["recipe"]["model"]["id"] = str(run.merged)
    file.write_text(json.dumps(info))
    assert "go on from it, and need it: run-oom" in question(run, runs.sizes(run))


async def test_the_palette_holds_every_key_of_the_screen(wizard: New, three: Path) -> None:
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("down")
        await settle(pilot)
        names = [command.title for command in app.get_system_commands(app.screen)]
        assert {"Filter", "Chat", "Use it", "Compare", "Note", "Rename", "Delete", "Theme", "Quit"} <= set(names)
        assert len(names) == len(set(names))
        delete = next(each for each in app.get_system_commands(app.screen) if each.title == "Delete")
        await delete.callback()
        await settle(pilot)
        assert isinstance(app.screen, ConfirmDialog)


def test_the_list_in_lines_has_the_newest_note_too(fitune: Fitune, fitune_home: Path) -> None:
    (make_run(fitune_home, told="ok") / "notes.txt").write_text(
        "2026-11-22 10:00  step 1  one\n2026-11-22 11:00  two\n"
    )
    assert "run-a: note: 2026-11-22 11:00  two\n" in fitune("runs")[1]
    assert json.loads(fitune("runs", "--json")[1])[0]["note"] == "2026-11-22 11:00  two"


def test_the_first_frame_has_content_before_anything_else_is_imported(three: Path) -> None:
    words = [line.plain for line in FituneApp().first_words()]
    assert words[0] == "fitune  What do you want to do?"
    assert words[2].startswith("3 runs in ")
    assert "  run-ok" in words
    assert next(line.plain for line in FituneApp(run=Run(three / "runs" / "run-ok")).first_words()) == "fitune  run-ok"
