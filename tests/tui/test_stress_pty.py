"""Bad terminals: resized to nothing and back, mute, far away, or gone. The run goes on; the screen recovers or ends.

The terminal that stops reading for a minute is in bench/wire.py (--stall 60); six seconds are in test_watch_pty.py.
"""

import os
import threading
from pathlib import Path

import pytest

from tests.pty_terminal import PtyTerminal, python, wait_for_steps, watch_command

FAR_S = 0.6


class Mute(PtyTerminal):
    """It answers no query."""

    def _answer(self, data: bytes) -> None:
        pass


class Far(PtyTerminal):
    """Keys and answers take their time to arrive."""

    def _answer(self, data: bytes) -> None:
        threading.Timer(FAR_S, self._answer_at_last, [data]).start()

    def _answer_at_last(self, data: bytes) -> None:
        if self.fd >= 0:
            super()._answer(data)

    def send(self, *keys: str) -> None:
        self.pump(FAR_S)
        super().send(*keys)


def leave(terminal: PtyTerminal) -> None:
    """Detach, and find the terminal as it was."""
    terminal.send("d")
    assert terminal.ended()
    assert terminal.status == 0
    assert terminal.modes_left_on() == []


def test_a_watch_that_is_made_tiny_says_so_and_comes_back(training: Path) -> None:
    terminal = PtyTerminal(watch_command(training), 200, 50)
    assert terminal.until("training   step")
    terminal.resize(40, 12)
    assert terminal.until("terminal too small"), terminal.text()
    terminal.resize(200, 50)
    assert terminal.until(r"grad norm[^\n]*tokens/s"), terminal.text()
    assert "too small" not in terminal.text()
    wait_for_steps(training, 5)
    leave(terminal)


@pytest.mark.parametrize("kind", [Mute, Far])
def test_a_terminal_that_is_mute_or_far_away_gets_its_screen_and_its_keys(
    training: Path, kind: type[PtyTerminal]
) -> None:
    terminal = kind(watch_command(training))
    assert terminal.until("training   step"), terminal.text()
    terminal.send("l")
    assert terminal.until(r"\n step \d+\n"), terminal.text()
    wait_for_steps(training, 5)
    leave(terminal)


@pytest.mark.parametrize("kind", [Mute, Far])
def test_late_answers_are_never_taken_for_what_is_typed(tmp_path: Path, kind: type[PtyTerminal]) -> None:
    terminal = kind(python("-m", "fitune"), env={"FITUNE_HOME": str(tmp_path)})
    try:
        for seen, keys in (("Start a new", ("enter",)), ("Which starting point", ("enter",))):
            assert terminal.until(seen), terminal.text()
            terminal.send(*keys)
        assert terminal.until("Rank +16"), terminal.text()
        terminal.send("down", "down", "down", "48")
        assert terminal.until(r"Rank +48"), terminal.text()
        assert "ERROR" not in terminal.text()
    finally:
        terminal.kill()


def test_a_wizard_ends_with_its_terminal(tmp_path: Path) -> None:
    terminal = PtyTerminal(python("-m", "fitune"), 200, 50, env={"FITUNE_HOME": str(tmp_path)})
    assert terminal.until("Start a new"), terminal.text()
    terminal.resize(40, 12)
    assert terminal.until("terminal too small"), terminal.text()
    terminal.resize(200, 50)
    assert terminal.until("Start a new"), terminal.text()
    terminal.close()
    assert terminal.ended()
    with pytest.raises(ProcessLookupError):
        os.kill(terminal.pid, 0)
