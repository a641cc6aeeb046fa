"""The wizard on real terminals: how soon it is there, colours, modes, lines for those that show none, and kill -9."""

import re
import signal
from pathlib import Path

import pytest

from tests.pty_terminal import PtyTerminal, python

MINIMAL = """
from textual.app import App
from textual.widgets import Static
class Minimal(App):
    def compose(self):
        yield Static("fitune", markup=False)
Minimal().run(mouse=False)
"""


def wizard(tmp_path: Path, **env: str) -> PtyTerminal:
    return PtyTerminal(python("-m", "fitune"), env={"FITUNE_HOME": str(tmp_path / "home"), **env})


@pytest.mark.parametrize("term", ["xterm", "linux", "screen", "tmux-256color", "vt100"])
def test_check_30_no_terminal_gets_24_bit_colours_and_the_focus_is_seen(tmp_path: Path, term: str) -> None:
    terminal = wizard(tmp_path, TERM=term)
    try:
        assert terminal.until("Start a new fine-tune"), terminal.text()
        terminal.send("enter")
        assert terminal.until(r"Memory of.*\n(.*\n)*.*135M on anything"), terminal.text()
        assert not re.search(rb"\x1b\[[0-9;]*[34]8;2;", terminal.raw)
        row = terminal.text().splitlines().index(next(each for each in terminal.text().splitlines() if "135M" in each))
        chosen, other = (terminal._screen.buffer[at][2] for at in (row, row + 1))
        assert (chosen.bg, chosen.reverse) != (other.bg, other.reverse)
        assert "mouse" not in terminal.modes()
        terminal.send("ctrl+c")
        assert terminal.ended()
        assert terminal.status == 130
        assert b"Your answers are kept; fitune offers them next time." in terminal.raw
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
        assert terminal.until(seen), terminal.text()
        terminal.send(*keys)
    assert terminal.until(lambda: (tmp_path / "home" / "draft.json").exists())
    terminal.signal(signal.SIGKILL)
    assert terminal.ended()
    again = wizard(tmp_path)
    try:
        assert again.until("Go on with your last answers, at Data"), again.text()
        again.send("enter")
        assert again.until("What shall it learn"), again.text()
        again.send("esc")
        assert again.until(r"Rank +48"), again.text()
    finally:
        again.kill()


def first_frame_s(home: Path, *arguments: str) -> float:
    """Seconds from the start of a program to its first frame."""
    terminal = PtyTerminal(python(*arguments), env={"FITUNE_HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""})
    try:
        assert terminal.until("fitune"), terminal.text()
        return terminal.writes[-1][0]
    finally:
        terminal.kill()


def test_check_25_the_first_frame_takes_at_most_half_longer_than_a_minimal_apps(tmp_path: Path) -> None:
    rounds = [(first_frame_s(tmp_path, "-m", "fitune"), first_frame_s(tmp_path, "-c", MINIMAL)) for _ in range(6)]
    ours_s, minimal_s = (min(each) for each in zip(*rounds, strict=True))  # other programs share this processor
    assert ours_s <= 1.5 * minimal_s


def test_check_25_the_wizard_never_loads_torch(tmp_path: Path) -> None:
    terminal = wizard(tmp_path)
    try:
        for seen in ("Start a new", "Which starting point", "Change anything", "What shall it learn"):
            assert terminal.until(seen), terminal.text()
            terminal.send("enter")
        assert "libtorch" not in Path(f"/proc/{terminal.pid}/maps").read_text()
    finally:
        terminal.kill()


@pytest.mark.parametrize(
    "env",
    [
        {"TERM": "dumb"},
        {"TERM": ""},
        {"ACCESSIBLE": "1"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=["dumb", "no TERM", "accessible", "C", "latin-1"],
)
def test_check_31_a_terminal_that_cannot_show_the_screen_gets_prompts_without_escapes(
    tmp_path: Path, env: dict[str, str]
) -> None:
    terminal = wizard(tmp_path, **env)
    try:
        assert terminal.until(r"Machine \(1 of 5\)"), terminal.text()
        assert terminal.until(r"Number \[1\]:"), terminal.text()
        terminal.send("1", "enter")
        assert terminal.until("another card"), terminal.text()
        terminal.send("ctrl+c")
        assert terminal.ended()
        assert terminal.status == 130
        assert b"Your answers are kept; fitune offers them next time." in terminal.raw
        assert b"\x1b" not in terminal.raw
        assert not re.search(rb"\\u25|\\x", terminal.raw)
    finally:
        terminal.kill()


def test_check_32_without_colours_words_tell_the_state_and_nothing_is_invisible(tmp_path: Path) -> None:
    terminal = wizard(tmp_path, NO_COLOR="1")
    try:
        assert terminal.until("Start a new"), terminal.text()
        terminal.send("enter")
        assert terminal.until(r"OK It fits.*\n(.*\n)*.*OK +135M on anything"), terminal.text()
        cells = [cell for row in terminal._screen.buffer.values() for cell in row.values()]
        assert not [cell for cell in cells if cell.data.strip() and cell.fg == cell.bg != "default"]
    finally:
        terminal.kill()
