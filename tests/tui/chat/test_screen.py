"""Talking with a trained model: in lines, on the screen, and with text that a terminal would obey."""

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from fitune.core.jobs import chat
from fitune.core.jobs.messages.chat import SIDES, Answered
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.runs import Phase
from fitune.core.runs.run import Run
from fitune.tui.app import FituneApp
from fitune.tui.chat.screen import ChatScreen
from fitune.tui.chat.text import end_text, phase_text
from fitune.tui.deliver.options import OPTIONS
from fitune.tui.deliver.screen import DeliverScreen
from tests import fake_chat
from tests.fake_worker import make_run
from tests.tui.conftest import Fitune
from tests.tui.payloads import OBEYED, PAYLOADS
from tests.tui.watch.test_screen import shown, shows, until, watching


@pytest.fixture
def trained(fitune_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with an adapter, on a machine without a card; the fake process stands for the model."""
    run = make_run(fitune_home, told="ok")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_model.safetensors").touch()
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine(gpu_state="none"))
    put(monkeypatch, "chat")
    return run


def put(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Have the fake process behave in some way."""
    command = [sys.executable, fake_chat.__file__]
    monkeypatch.setattr(chat, "_command", lambda run: [*command, str(run.path), "--mode", mode])


def asked(run: Path, side: str = "tuned") -> list[Any]:
    """What the model was asked, in order."""
    return [json.loads(line)["asked"][side] for line in (run / "asked.jsonl").read_text().splitlines()]


# In lines


def test_a_prompt_prints_both_answers_labelled(trained: Path, fitune: Fitune) -> None:
    status, out, err = fitune("chat", "run-a", "--prompt", "Why?")
    assert status == 0
    assert out == "base:\nbase heard: Why?\n\nfine-tuned:\ntuned heard: Why?\n\n"
    assert "loading the model ..." in err
    assert "always the likeliest token, at most 512 tokens" in err
    assert "fine-tuned ended by itself: 3 tokens, 6.0 tokens/s" in err


def test_an_answer_that_did_not_end_by_itself_is_told_with_what_that_means(trained: Path, fitune: Fitune) -> None:
    _, _, err = fitune("chat", "run-a", "--prompt", "long")
    assert "WARN  fine-tuned cut at 3 tokens" in err
    assert "has not learnt where to stop" in err


def test_json_is_one_document(trained: Path, fitune: Fitune) -> None:
    status, out, _ = fitune("chat", "run-a", "--prompt", "Why?", "--json")
    assert status == 0
    assert json.loads(out)["tuned"] == {
        "text": "tuned heard: Why?", "ended": "itself", "tokens": 3, "elapsed_s": 0.5,
    }  # fmt: skip


def test_lines_through_a_pipe_are_one_conversation(
    trained: Path, fitune: Fitune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("One?\nTwo?\n/new\nThree?\n/2\n"))
    status, out, err = fitune("chat", "run-a")
    assert status == 0
    assert out.count("fine-tuned:") == 4
    assert "in the data:\nIt is 4." in out
    assert "system prompt of your data: Be brief." in err
    assert "you>" not in err
    said = [[turn["content"] for turn in turns] for turns in asked(trained)]
    assert said == [
        ["Be brief.", "One?"],
        ["Be brief.", "One?", "tuned heard: One?", "Two?"],
        ["Be brief.", "Three?"],
        ["Be brief.", "What is 2 + 2?"],
    ]


def test_a_question_in_another_encoding_is_asked_with_marks_for_its_letters(
    trained: Path, fitune: Fitune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Caf\xe9?\nWhy?\n"), "utf-8"))
    assert fitune("chat", "run-a")[0] == 0
    assert [turns[-1]["content"] for turns in asked(trained)] == ["Caf\ufffd?", "Why?"]


@pytest.mark.parametrize("typed", ["?", "/9", "/help"])
def test_what_asks_for_help_is_no_question_where_somebody_types(
    trained: Path, fitune: Fitune, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{typed}\nWhy?\n"))
    monkeypatch.setattr("fitune.tui.commands.delivery.chat.is_terminal", lambda stream: True)
    status, _, err = fitune("chat", "run-a", "--plain")
    assert status == 0
    assert err.count("Ctrl+D leaves") == 2
    assert [turns[-1]["content"] for turns in asked(trained)] == ["Why?"]


def test_a_question_that_is_refused_ends_no_conversation(
    trained: Path, fitune: Fitune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("refuse\nWhy?\n"))
    status, out, err = fitune("chat", "run-a")
    assert status == 0
    assert "ERROR The template says no. Ask otherwise." in err
    assert "tuned heard: Why?" in out


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--json"], "--json needs a question", 2),
        (["--prompt", "x", "--max-tokens", "0"], "--max-tokens must be at least 1", 2),
        (["--prompt", "x", "--temperature", "-1"], "--temperature must lie between", 2),
        (["--prompt", "x", "--temperature", "nan"], "--temperature must lie between", 2),
        (["--prompt", "refuse"], "The template says no. Ask otherwise.", 1),
        (["--prompt", "die"], "ended by SIGKILL", 1),
    ],
)
def test_what_cannot_be_is_a_sentence(
    trained: Path, fitune: Fitune, arguments: list[str], words: str, status: int
) -> None:
    got, _, err = fitune("chat", "run-a", *arguments)
    assert got == status
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("mode", "words"), [("failed", "The card is full. Close something."), ("dies", "SIGKILL")])
def test_a_model_that_cannot_be_loaded_is_a_sentence(
    trained: Path, fitune: Fitune, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    put(monkeypatch, mode)
    status, out, err = fitune("chat", "run-a", "--prompt", "x")
    assert (status, out) == (1, "")
    assert words in err


def test_a_run_without_an_adapter_is_a_sentence(trained: Path, fitune: Fitune) -> None:
    (trained / "adapter" / "adapter_model.safetensors").unlink()
    status, _, err = fitune("chat", "run-a", "--prompt", "x")
    assert (status, err) == (2, "run-a has no adapter yet. Train it first: fitune resume run-a\n")


def test_ctrl_c_stops_the_answer(trained: Path, fitune: Fitune) -> None:
    def press() -> None:
        while not (trained / "asked.jsonl").exists():
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    status, out, err = fitune("chat", "run-a", "--prompt", "slow")
    assert status == 130
    assert "base heard: slow on on" in out
    assert "base stopped after 3 tokens" in err


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_what_the_model_writes_is_never_obeyed(trained: Path, fitune: Fitune, payload: str) -> None:
    payload = payload.replace("\0", "")  # no argument holds it
    _, out, err = fitune("chat", "run-a", "--prompt", payload)
    assert not OBEYED.search(out + err)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Phase(name="download", model="a/b", bytes=3 << 30), "fetching the model: 3.0 GiB ..."),
        (Phase(name="download", model="a/b"), "fetching the model ..."),
        (Phase(name="new\x1b[2J"), "new␛[2J ..."),
    ],
)
def test_what_is_to_be_fetched_is_told_with_its_size(message: Phase, said: str) -> None:
    assert phase_text(message) == said


def test_an_answer_without_a_token_or_a_clock_is_told() -> None:
    assert end_text(Answered("base", "", 0, "itself", 0.0)) == (True, "ended by itself: 0 tokens, ")


# On the screen


@asynccontextmanager
async def talking(
    run: Path, first: str = "ready on cpu", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[FituneApp, Pilot[int]]]:
    app = FituneApp(alone=ChatScreen(Run(run)))
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: first in shown(app))
        yield app, pilot


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_two_answers_to_one_question(trained: Path, size: tuple[int, int]) -> None:
    async with talking(trained, size=size) as (app, pilot):
        await until(pilot, lambda: "system prompt of your data: Be brief." in shown(app))
        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: shown(app).count("ended by itself: 3 tokens") == 2)
        lines = shown(app).splitlines()
        rows = [next(y for y, line in enumerate(lines) if f"{side} heard" in line) for side in SIDES]
        assert (rows[0] == rows[1]) == (size[0] >= 110), "side by side where there is room"
        assert len(lines) == size[1]
        for key in ("Ask", "Start anew", "Leave", "Quit"):
            assert key in lines[-1]
        assert "Your question; up brings one from your data" in lines[-2]


async def test_a_conversation_goes_on_until_it_is_started_anew(trained: Path) -> None:
    async with talking(trained) as (app, pilot):
        for question, keys in (("One?", ()), ("Two?", ()), ("Three?", ("ctrl+n",))):
            await pilot.press(*keys, *question, "enter")
            await until(pilot, shows(app, f"tuned heard: {question}"))
        assert "One?" not in shown(app)
    assert [len(turns) for turns in asked(trained)] == [2, 4, 2]


async def test_a_larger_window_shows_more_of_the_conversation(trained: Path) -> None:
    async with talking(trained) as (app, pilot):
        for letter in "ab":
            app.screen.query_one(Input).value = f"{letter} " * 200
            await pilot.press("enter")
            await until(pilot, shows(app, f"tuned heard: {letter}"))
        await until(pilot, lambda: "ended by itself" in shown(app).splitlines()[18])
        assert "system prompt" not in shown(app)
        await pilot.press("pageup", "pageup", "pageup")
        await until(pilot, lambda: shown(app).count("system prompt") == 2)
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "system prompt" in shown(app).splitlines()[2])


def holds(line: Input, text: str) -> bool:
    return line.value == text


async def test_up_offers_the_questions_of_the_data_one_after_the_other(trained: Path) -> None:
    async with talking(trained) as (app, pilot):
        line = app.screen.query_one(Input)
        for question in ("What is 1 + 1?", "What is 2 + 2?", "What is 1 + 1?"):
            await pilot.press("up")
            await until(pilot, partial(holds, line, question))
        await pilot.press("enter")
        await until(pilot, lambda: "in the data: It is 2." in shown(app))


async def test_f1_explains_it_for_a_question_mark_belongs_to_the_question(trained: Path) -> None:
    async with talking(trained) as (app, pilot):
        await pilot.press("question_mark", "f1")
        await until(pilot, lambda: "was trained for one thing" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: "was trained for one thing" not in shown(app))
        assert app.screen.query_one(Input).value == "?"


async def test_escape_stops_an_answer_first_and_leaves_then(trained: Path) -> None:
    async with talking(trained) as (app, pilot):
        await pilot.press(*"slow", "enter")
        await until(pilot, lambda: " on on" in shown(app))
        await until(pilot, lambda: "Stop" in shown(app).splitlines()[-1])
        await pilot.press("escape")
        await until(pilot, lambda: "stopped after" in shown(app))
        await until(pilot, lambda: "Leave" in shown(app).splitlines()[-1])
        worker = app.screen.chat._worker  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: not app.is_running)
    assert worker.poll() is not None, "the model's process is gone"
    assert app.return_code == 0


@pytest.mark.parametrize(
    ("mode", "words"), [("failed", "ERROR The card is full. Close something."), ("dies", "ended by SIGKILL")]
)
async def test_a_failure_is_told_and_the_screen_can_be_left(
    trained: Path, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    put(monkeypatch, mode)
    async with talking(trained, words) as (app, pilot):
        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: "not loaded" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: not app.is_running)


async def test_a_long_failure_is_shown_whole(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "dies")
    async with talking(trained, "ended by SIGKILL") as (app, pilot):
        path = str(trained / "chat.log")
        await until(pilot, lambda: path in "".join(shown(app).split()))
        await until(pilot, lambda: "Your question; up brings" in shown(app).splitlines()[-2])


async def test_a_death_between_two_questions_is_told(trained: Path) -> None:
    async with talking(trained) as (app, pilot):
        await pilot.press(*"die", "enter")
        await until(pilot, lambda: "ended by SIGKILL" in shown(app))
        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: "not loaded" in shown(app))
        await until(pilot, lambda: "Leave" in shown(app).splitlines()[-1])


async def test_what_is_waited_for_is_told_with_a_clock_and_what_each_pane_is(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, "loads")
    async with talking(trained, "loading the model") as (app, pilot):
        await until(pilot, lambda: "loading the model ... 1 s" in shown(app))
        await until(pilot, lambda: "loading the model ... 2 s" in shown(app))
        assert "base, the model as it was" in shown(app)
        assert "fine-tuned, answers first" in shown(app)


async def test_leaving_while_it_loads_ends_the_process(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "loads")
    async with talking(trained, "loading the model") as (app, pilot):
        worker = app.screen.chat._worker  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: not app.is_running)
    assert worker.poll() is not None


async def test_an_adapter_is_tried_from_the_deliver_screen_and_back(trained: Path) -> None:
    async with watching(trained, "Use it") as (app, pilot):
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen) and "needs" in shown(app))
        app.screen.query_one(OptionList).highlighted = [way.title for way in OPTIONS].index("Chat")
        await pilot.press("enter")
        await until(pilot, lambda: "ready on cpu" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DeliverScreen))


@pytest.mark.parametrize("payload", [" ".join(PAYLOADS[n::5]) for n in range(5)], ids=range(5))
async def test_no_payload_of_the_model_reaches_the_screen(
    trained: Path, monkeypatch: pytest.MonkeyPatch, payload: str
) -> None:
    async with talking(trained, size=(120, 40)) as (app, pilot):
        question = app.screen.query_one(Input)
        question.value = payload
        await pilot.press("enter")
        await until(pilot, lambda: "ended by itself" in shown(app))
        assert not OBEYED.search(shown(app))
