"""The wizard on real terminals: colours, modes, and an end without a word."""

import re
import signal
from pathlib import Path

import pytest

from tests.pty_terminal import PtyTerminal, python


def wizard(tmp_path: Path, **env: str) -> PtyTerminal:
    return PtyTerminal(python("-m", "tui"), env={"FITUNE_HOME": str(tmp_path / "home"), **env})


@pytest.mark.parametrize("term", ["xterm", "linux", "screen", "tmux-256color", "vt100"])
def test_check_30_no_terminal_gets_24_bit_colours_and_the_focus_is_seen(tmp_path: Path, term: str) -> None:
    terminal = wizard(tmp_path, TERM=term)
    try:
        assert terminal.pump(20, "Start a new fine-tune"), terminal.text()
        terminal.send("enter")
        assert terminal.pump(20, "135M on anything.*Memory of")
        assert not re.search(rb"\x1b\[[0-9;]*[34]8;2;", terminal.raw)
        row = terminal.text().splitlines().index(next(each for each in terminal.text().splitlines() if "135M" in each))
        chosen, other = (terminal._screen.buffer[at][2] for at in (row, row + 1))
        assert (chosen.bg, chosen.reverse) != (other.bg, other.reverse)
        assert "mouse" not in terminal.modes()
        terminal.send("ctrl+c")
        assert terminal.ended()
        assert terminal.status == 130
        assert terminal.modes_left_on() == []
    finally:
        terminal.kill()


def test_check_22_after_kill_9_the_next_wizard_offers_the_step_with_its_values(tmp_path: Path) -> None:
    terminal = wizard(tmp_path)
    for seen, keys in (
        ("Start a new", ("enter",)),
        ("Which starting point", ("enter",)),
        ("A Hub id such as", ("down", "down", "down", "48")),
        (r"\* edited", ("enter",)),
        ("What shall it learn", ()),
    ):
        assert terminal.pump(20, seen), terminal.text()
        terminal.send(*keys)
    assert terminal.pump(5, lambda: (tmp_path / "home" / "draft.json").exists())
    terminal.signal(signal.SIGKILL)
    assert terminal.ended()
    again = wizard(tmp_path)
    try:
        assert again.pump(20, "Go on with your last answers, at Data"), again.text()
        again.send("enter")
        assert again.pump(20, "What shall it learn"), again.text()
        again.send("esc")
        assert again.pump(20, r"Rank +48"), again.text()
    finally:
        again.kill()
