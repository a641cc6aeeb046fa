"""Keys typed ahead, on a real terminal: they reach the screens that they were meant for, in order."""

import json
import time
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from tests.fake_worker import make_run, start
from tests.pty_terminal import PtyTerminal, python, watch_command

ENTER, DOWN = "\r", "\x1b[B"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"What is {n}?", "answer": str(n)}) + "\n" for n in range(40)))
    return path


def test_the_whole_wizard_typed_at_once_comes_to_the_review(tmp_path: Path, rows: Path) -> None:
    terminal = PtyTerminal(python("-m", "fitune"), env={"FITUNE_HOME": str(tmp_path / "home")})
    try:
        assert terminal.until("fitune")
        terminal.send(ENTER * 2 + DOWN * 3 + "48" + ENTER + str(rows) + ENTER)
        assert terminal.until("OK 40 rows"), terminal.text()
        terminal.send(ENTER)
        assert terminal.until(r"(?s)LoRA rank 48.*Start training"), terminal.text()
    finally:
        terminal.kill()


def test_letters_behind_an_enter_go_into_the_next_screen_and_never_press_a_key_of_this_one(
    tmp_path: Path, rows: Path
) -> None:
    terminal = PtyTerminal(python("-m", "fitune"), env={"FITUNE_HOME": str(tmp_path / "home")})
    try:
        assert terminal.until("Start a new")
        terminal.send(ENTER * 3 + f"{rows}?\x1b")  # ? asks for help, esc leaves it
        assert terminal.until(r"(?s)What shall it learn from.*Rows +\S+rows\.jsonl"), terminal.text()
    finally:
        terminal.kill()


def test_keys_behind_a_question_answer_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    worker = start(run, "steps:3000", "--rate", "20")
    terminal = PtyTerminal(python("-m", "fitune", "watch", str(run)))
    try:
        assert terminal.until("training   step"), terminal.text()
        terminal.send("k" + ENTER + "l")  # kill? no; then the log
        assert terminal.until(r"\n step \d+\n"), terminal.text()
        assert worker.poll() is None
        terminal.send("s" + "\x1b[C" + ENTER)  # stop? yes
        assert terminal.until("OK  stopped"), terminal.text()
    finally:
        Run(run).kill()
        terminal.kill()


def test_an_esc_alone_is_told_at_once(tmp_path: Path) -> None:
    terminal = PtyTerminal(watch_command(make_run(tmp_path, told="ok")))
    seconds = []
    try:
        assert terminal.until("finished")
        for _ in range(5):
            terminal.send("?")
            assert terminal.until("Watching a run"), terminal.text()
            terminal.pump(0.3)
            began = time.monotonic()
            terminal.send("esc")
            assert terminal.until(lambda: "Watching a run" not in terminal.text())
            seconds.append(time.monotonic() - began)
    finally:
        terminal.kill()
    assert min(seconds) < 0.09, "Textual's own driver waits for 100 ms or more"


def test_an_arrow_that_comes_in_two_parts_is_one_key(tmp_path: Path, rows: Path) -> None:
    terminal = PtyTerminal(python("-m", "fitune"), env={"FITUNE_HOME": str(tmp_path / "home"), "ESCDELAY": "2000"})
    try:
        assert terminal.until("Start a new")
        terminal.send("enter")
        assert terminal.until("Which starting point")
        terminal.pump(0.5)
        before = terminal.text()
        terminal.send("\x1b")
        terminal.pump(0.1)
        terminal.send("[B")
        assert terminal.until(lambda: terminal.text() != before)
        assert "Which starting point" in terminal.text(), "an Esc would have gone back"
    finally:
        terminal.kill()
