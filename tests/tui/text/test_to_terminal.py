"""What the user's terminal gets beside the screen: nothing of a foreign text can end the sequence or begin another."""

from typing import Any

import pytest

from fitune.tui.text.to_terminal import announce, notification
from tests.tui.payloads import PAYLOADS

XTERM = {"TERM": "xterm-256color"}


class Terminal:
    """An app of which only what is sent to the terminal counts."""

    is_headless = False

    def __init__(self) -> None:
        self.sent = ""
        self._driver = self

    def bell(self) -> None:
        self.write("\a")

    def write(self, text: str) -> None:
        self.sent += text


@pytest.mark.parametrize(
    ("env", "sent"),
    [
        (XTERM, "\x1b]9;fitune: run-a finished\a"),
        ({"TERM": "foot"}, "\x1b]777;notify;fitune;run-a finished\a"),
        ({"TERM": "tmux-256color", "TMUX": "x"}, "\x1bPtmux;\x1b\x1b]9;fitune: run-a finished\a\x1b\\"),
        ({"TERM": "linux"}, ""),
    ],
)
def test_each_terminal_gets_the_notification_it_knows(env: dict[str, str], sent: str) -> None:
    assert notification("run-a finished", env) == sent


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_name_from_outside_can_neither_end_nor_begin_a_sequence(payload: Any) -> None:
    sent = notification(f"a;{payload}", XTERM)
    inside = sent.removeprefix("\x1b]9;").removesuffix("\a")
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in inside)
    assert ";" not in inside
    assert len(sent) < 160


def test_a_setting_switches_bell_and_notification_off() -> None:
    terminal: Any = Terminal()
    announce(terminal, "run-a finished", {**XTERM, "FITUNE_NOTIFY": "off"})
    assert terminal.sent == ""
    announce(terminal, "run-a finished", XTERM)
    assert terminal.sent == "\a\x1b]9;fitune: run-a finished\a"
