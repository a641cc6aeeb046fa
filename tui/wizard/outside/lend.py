"""Lends the terminal to another program, and takes it back."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from textual.app import App, SuspendNotSupported

from fitune.core.errors import UserError
from fitune.tui.text import wrapped


def lend(app: App[Any], command: Sequence[str], reads: bool = False, words: str = "") -> tuple[int, str]:
    """Run a command on the terminal in place of the app; its exit status, and what it printed.

    reads: catch its stdout instead of showing it. words: are printed before. Ctrl+C is for the command. After a failure
    the user presses Enter before the app covers what was said. Raises UserError where the terminal can't be lent, or
    there is no such command.
    """
    try:
        with app.suspend():
            if words:
                print(wrapped(words, sys.stderr), file=sys.stderr)
            return _run(command, reads)
    except SuspendNotSupported:
        raise UserError("This terminal can't be lent to another program.", "Write the recipe with w.") from None


def _run(command: Sequence[str], reads: bool) -> tuple[int, str]:
    before = signal.signal(signal.SIGINT, _unheard)  # a command gets the default back, unlike for SIG_IGN
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE if reads else None, text=True, check=False)
        if done.returncode:
            input("\nEnter goes back to fitune. ")
    except OSError as error:
        raise UserError(f"{command[0]} can't be started: {error.strerror}.", "Set EDITOR to your editor.") from None
    except EOFError:
        return done.returncode, done.stdout or ""
    finally:
        signal.signal(signal.SIGINT, before)
    return done.returncode, done.stdout or ""


def _unheard(number: int, frame: FrameType | None) -> None:
    """Ctrl+C while the terminal is lent."""
