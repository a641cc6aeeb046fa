"""What the terminal can show is decided by rule, and whatever ends the screen leaves the terminal as it was."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitune.core.runs import EventLog, Failed, Started
from fitune.core.runs.run import Run
from fitune.tui.terminal import decide, last_lines
from tests.fake_worker import make_run, start, wait_until
from tests.pty_terminal import PtyTerminal, python

BOTH = (True, True)
SIZE = (80, 24)


@pytest.mark.parametrize("term", ["xterm-256color", "tmux-256color", "screen-256color", "xterm-kitty"])
def test_check_30_terminals_of_many_colours_get_the_full_screen(term: str) -> None:
    assert decide({"TERM": term}, BOTH, SIZE, "utf-8") == "full"


@pytest.mark.parametrize("term", ["xterm", "linux", "screen", "vt100", "vt220", "ansi"])
def test_check_30_terminals_of_16_colours_get_the_basic_screen(term: str) -> None:
    assert decide({"TERM": term}, BOTH, SIZE, "UTF-8") == "basic"


@pytest.mark.parametrize(
    ("env", "isatty", "size", "encoding", "surface"),
    [
        ({"TERM": "dumb"}, BOTH, SIZE, "utf-8", "plain"),
        ({"TERM": "unknown"}, BOTH, SIZE, "utf-8", "plain"),
        ({}, BOTH, SIZE, "utf-8", "plain"),
        ({"TERM": "xterm-256color"}, BOTH, SIZE, "latin-1", "plain"),
        ({"TERM": "xterm-256color"}, BOTH, SIZE, "ascii", "plain"),
        ({"TERM": "xterm-256color"}, BOTH, SIZE, None, "plain"),
        ({"TERM": "xterm-256color"}, BOTH, (79, 24), "utf-8", "plain"),
        ({"TERM": "xterm-256color"}, BOTH, (80, 23), "utf-8", "plain"),
        ({"TERM": "xterm-256color"}, BOTH, (0, 0), "utf-8", "plain"),
        ({"TERM": "xterm-256color", "ACCESSIBLE": "1"}, BOTH, SIZE, "utf-8", "plain"),
        ({"TERM": "xterm-256color", "FITUNE_PLAIN": "1"}, BOTH, SIZE, "utf-8", "plain"),
        ({"TERM": "xterm-256color"}, (True, False), SIZE, "utf-8", "plain"),
        ({"TERM": "xterm-256color"}, (False, True), SIZE, "utf-8", "none"),
        ({"TERM": "xterm-256color"}, (False, False), (0, 0), "utf-8", "none"),
    ],
)
def test_check_31_what_cant_show_the_screen_gets_prompts_or_nothing(
    env: dict[str, str], isatty: tuple[bool, bool], size: tuple[int, int], encoding: str | None, surface: str
) -> None:
    assert decide(env, isatty, size, encoding) == surface


def test_deciding_needs_no_textual() -> None:
    code = "import sys, fitune.tui.terminal; fitune.tui.terminal.surface(); print('textual' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


APP = """
    import sys
    from textual.app import App
    from textual.widgets import Static
    from fitune.tui import terminal

    class Small(App):
        def compose(self):
            yield Static("ready", markup=False)
        def on_mount(self):
            terminal.exit_on_signals(self)
            {extra}

    sys.exit(terminal.run(Small()))
"""


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[PtyTerminal]:
    extra, shell = getattr(request, "param", ("pass", ""))
    code = textwrap.dedent(APP.format(extra=extra))
    command = ["sh", "-c", f'{shell} exec "$0" -c "$1"', sys.executable, code] if shell else python("-c", code)
    terminal = PtyTerminal(command)
    assert terminal.until("ready")
    yield terminal
    terminal.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_check_24_a_signal_leaves_no_mode_on(app: PtyTerminal, number: int) -> None:
    app.signal(number)
    assert app.ended()
    assert app.status == 0
    assert app.modes_left_on() == []


def test_check_24_quitting_leaves_no_mode_on(app: PtyTerminal) -> None:
    app.send("ctrl+q")
    assert app.ended()
    assert app.status == 0
    assert app.modes_left_on() == []


@pytest.mark.parametrize("app", [("self.set_timer(0.3, lambda: 1 / 0)", "")], indirect=True)
def test_check_24_a_crash_leaves_no_mode_on_and_is_no_success(app: PtyTerminal) -> None:
    assert app.ended()
    assert app.status == 1
    assert app.modes_left_on() == []


def test_check_34_mouse_modes_are_never_switched_on(app: PtyTerminal) -> None:
    assert "alternate screen" in app.modes()
    assert app.modes().get("mouse", (0, 0))[0] == 0


BLOCKED = "import time; self.set_timer(0.5, lambda: time.sleep(600))"


@pytest.mark.parametrize(
    "app", [("pass", ""), ("pass", "trap '' HUP;"), (BLOCKED, ""), (BLOCKED, "trap '' HUP;")], indirect=True,
    ids=["idle", "idle, nohup", "blocked loop", "blocked loop, nohup"],
)  # fmt: skip
def test_check_24_a_vanished_terminal_ends_the_screen(app: PtyTerminal) -> None:
    app.pump(1)
    app.close()
    assert app.ended()


FLOOD = "self.set_interval(0.02, lambda: self.query_one(Static).update(str(__import__('time').time()) * 99))"


@pytest.mark.parametrize("app", [(FLOOD, "")], indirect=True, ids=["flood"])
def test_a_terminal_that_stops_reading_is_no_reason_to_end(app: PtyTerminal) -> None:
    time.sleep(4)  # meanwhile the loop blocks: the buffer of a pty is full in a moment
    app.pump(1)
    assert app.status is None
    app.send("ctrl+q")
    assert app.ended()
    assert app.status == 0


def test_check_24_last_lines_say_how_to_come_back(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    worker = start(run, "steps:30", "--rate", "100", "--then", "hang")
    wait_until(lambda: Run(run).current()[0] == "running")
    said = "\n".join(last_lines(Run(run)))
    worker.kill()
    worker.wait()
    assert "fitune watch run-a" in said
    assert str(run / "worker.log") in said
    finished = make_run(tmp_path, "run-c", told="ok")
    (finished / "adapter").mkdir()
    (finished / "adapter" / "adapter_model.safetensors").touch()
    assert "Use it: fitune watch run-c, then u" in last_lines(Run(finished))
    killed = "\n".join(last_lines(Run(make_run(tmp_path, "run-b", told="killed"))))
    assert "run-b: Killed at step 44" in killed
    assert "fitune resume run-b" in killed


@pytest.mark.parametrize(("failed", "told"), [(True, "The merge failed: No RAM."), (False, "The merge was killed")])
def test_last_lines_tell_the_end_of_the_newest_job_not_of_the_training(tmp_path: Path, failed: bool, told: str) -> None:
    run = Run(make_run(tmp_path, told="ok"))
    log = EventLog(run.events, "merge")
    log.write(Started())
    if failed:
        log.write(Failed(kind="oom", message="No RAM.", hint="Use a larger machine."))
    assert last_lines(run)[0].startswith(f"run-a: {told}")


def test_last_lines_of_a_living_merge_do_not_say_that_it_trains(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    worker = start(run, "ok", "--rate", "500", "--then", "hang")
    (run / "lock").write_text('{"job": "merge"}')
    said = last_lines(Run(run))
    worker.kill()
    worker.wait()
    assert said[0] == "The merge of run-a goes on by itself."


def test_the_watchdog_ends_a_process_whose_terminal_has_gone_before_it_looks() -> None:
    code = (
        "import os, time\nfrom fitune.tui.terminal import watch_terminal\n"
        "os.close(0)\nwatch_terminal(0, 0.1)\ntime.sleep(60)"
    )
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
    assert time.monotonic() - began < 50
