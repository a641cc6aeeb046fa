"""What the user's own terminal gets beside the screen: a notification (OSC 9, 777) and text for its clipboard (OSC 52).

Both go through SSH, and through tmux where it lets them pass: `set -g allow-passthrough on; set -g set-clipboard on`.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fitune.tui.text.clean import clean

if TYPE_CHECKING:
    from textual.app import App

SETTING = "FITUNE_NOTIFY"
"""The variable that switches bell and notification off: `FITUNE_NOTIFY=off`."""
BEL, ESC = "\a", "\x1b"
LIMIT_CHARS = 120
_OSC_777 = ("rxvt", "foot", "ghostty", "vte", "gnome")
"""Terminals that know `notify` by number 777; most others know it by number 9, and drop what they don't know."""
_WITHOUT = ("linux", "dumb", "")
"""Terminals that would show a part of it as text."""


def announce(app: "App[int]", text: str, env: Mapping[str, str] = os.environ) -> None:
    """Ring the bell and send the terminal's own notification, unless the user has switched them off."""
    if env.get(SETTING, "").lower() in ("off", "0", "no", "false"):
        return
    app.bell()
    driver = app._driver
    if driver is not None and not app.is_headless:
        driver.write(notification(text, env))


def notification(text: str, env: Mapping[str, str]) -> str:
    """The bytes of a notification with the title fitune; nothing where the terminal would show them as text.

    text: may be foreign; it is cleaned here, so that it can neither end the sequence nor begin another.
    """
    term = env.get("TERM", "")
    if term in _WITHOUT:
        return ""
    words = clean(text, LIMIT_CHARS).replace(";", ",")
    by_777 = any(name in f"{term} {env.get('TERM_PROGRAM', '')}".lower() for name in _OSC_777)
    sequence = f"{ESC}]777;notify;fitune;{words}{BEL}" if by_777 else f"{ESC}]9;fitune: {words}{BEL}"
    return f"{ESC}Ptmux;{ESC}{sequence}{ESC}\\" if "TMUX" in env else sequence


def copy_command(app: "App[int]", command: str) -> None:
    """Put a command on the clipboard of the user's own terminal, and say so."""
    app.copy_to_clipboard(command)
    app.notify(clean(f"Copied, if your terminal allows it: {command}"), markup=False)
