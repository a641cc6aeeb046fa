"""The watch screen on a real terminal: what it writes, how it ends, and that the run never notices."""

import json
import re
import signal
import time
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from tests.events import step_of
from tests.fake_worker import make_run
from tests.pty_terminal import PtyTerminal, wait_for_steps, watch_command
from tests.tui.payloads import PAYLOADS


def step_shown(terminal: PtyTerminal) -> int:
    """The step on the screen; 0 if there is none."""
    found = re.search(r"training +step ([\d,]+)", terminal.text())
    return int(found[1].replace(",", "")) if found else 0


def test_check_24_detaching_restores_the_terminal_and_says_how_to_come_back(training: Path) -> None:
    terminal = PtyTerminal(watch_command(training))
    assert terminal.until("training   step")
    terminal.send("d")
    assert terminal.ended()
    assert terminal.status == 0
    assert terminal.modes_left_on() == []
    assert "mouse" not in terminal.modes(), "check 34"
    assert "fitune watch run-a" in terminal.text()
    assert "worker.log" in terminal.text()
    assert Run(training).holder_pid()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_check_24_a_signal_restores_the_terminal(training: Path, number: int) -> None:
    terminal = PtyTerminal(watch_command(training))
    assert terminal.until("training   step")
    terminal.signal(number)
    assert terminal.ended()
    assert terminal.status == 0
    assert terminal.modes_left_on() == []
    assert Run(training).holder_pid()


def test_check_33_a_terminal_that_stops_reading_or_vanishes_never_stops_the_run(training: Path) -> None:
    terminal = PtyTerminal(watch_command(training), 200, 50)
    assert terminal.until("training   step")
    wait_for_steps(training, 120)  # nobody reads: the screen's loop may block
    now = step_of(Run(training))
    assert terminal.until(lambda: step_shown(terminal) > now), "it recovers, and is up to date"
    terminal.close()
    assert terminal.ended()
    wait_for_steps(training, 10)


def test_check_30_no_24_bit_colour_where_it_was_not_promised(tmp_path: Path) -> None:
    command = watch_command(make_run(tmp_path, told="killed"), "plain")
    terms = ("xterm", "linux", "screen", "tmux-256color", "vt100")
    terminals = [PtyTerminal(command, env={"TERM": term}) for term in terms]
    for terminal in terminals:
        assert terminal.until("ERROR  killed")
        terminal.send("q")
        assert terminal.ended()
        assert not re.search(rb"\x1b\[[0-9;]*[34]8;2;", terminal.raw)


def test_check_37_no_foreign_escape_byte_is_written(tmp_path: Path) -> None:
    payload = " ".join(PAYLOADS)
    run = make_run(tmp_path, recipe={"model": {"id": payload}})
    (run / "worker.log").write_text("\n".join(PAYLOADS))
    (run / "lock").touch()
    event = {"v": 1, "seq": 1, "t": 1.0, "job": "train", "type": "failed"}
    data = {"kind": payload, "message": payload, "hint": payload}
    (run / "events.jsonl").write_text(json.dumps({**event, "data": data}) + "\n")
    terminal = PtyTerminal(watch_command(run))
    assert terminal.until("ERROR  failed")
    terminal.send("l")
    assert terminal.until("bell␇")
    terminal.send("q")
    assert terminal.ended()
    for foreign in (b"\x1b]52", b"\x1b]0;title", b"\x1b[2J", "\x9b".encode(), "\u202e".encode(), "\u200b".encode()):
        assert foreign not in terminal.raw


def test_check_33_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    terminal = PtyTerminal(watch_command(make_run(tmp_path, told="ok")))
    assert terminal.until("OK  finished")
    for _ in range(3):  # on a machine that stalls the first picture takes its time
        written = len(terminal.raw)
        terminal.pump(4)
        if len(terminal.raw) == written:
            break
    terminal.kill()
    assert len(terminal.raw) == written


@pytest.mark.parametrize(("columns", "rows", "limit"), [(80, 24, 3000), (200, 50, 8000)])
def test_check_33_a_training_is_watched_within_its_bytes_a_second(
    training: Path, columns: int, rows: int, limit: int
) -> None:
    terminal = PtyTerminal(watch_command(training), columns, rows)
    try:
        assert terminal.until("training   step")
        terminal.pump(2)  # the first pictures are no measure
        means = []
        for _ in range(3):  # the best of three: a machine that stalls writes in bursts
            began_s = time.monotonic() - terminal.began
            terminal.pump(6)
            means.append(terminal.bytes_per_s(began_s, began_s + 6))
            if means[-1] <= limit:
                break
        assert min(means) <= limit
    finally:
        terminal.kill()


def test_watching_a_training_takes_no_memory_for_pydantic(training: Path) -> None:
    terminal = PtyTerminal(watch_command(training))
    try:
        assert terminal.until(r"training +step .* left"), terminal.text()
        assert "pydantic_core" not in Path(f"/proc/{terminal.pid}/maps").read_text()
    finally:
        terminal.kill()
