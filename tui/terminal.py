"""The terminal: its abilities, and its state, which fitune restores however it ends.

Imports nothing large: the decision is made before Textual is loaded.
"""

import asyncio
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

from fitune.core.runs import LIVE, Run
from fitune.tui.text import clean

if TYPE_CHECKING:
    from textual.app import App

Surface = Literal["full", "basic", "plain", "none"]
COLUMNS, ROWS = 80, 24
"""The smallest terminal that the screens are made for."""
_NO_SCREEN = ("", "dumb", "unknown")
_SIXTEEN_COLOURS = ("linux", "xterm", "screen", "ansi")
GRACE_S = 1.0
"""Seconds in which the event loop may end by itself once the terminal has gone."""


def decide(env: Mapping[str, str], isatty: tuple[bool, bool], size: tuple[int, int], encoding: str | None) -> Surface:
    """The ways to talk to the user: the full TUI, one of ASCII and 16 colours, numbered prompts, or none.

    isatty: of stdin and of stderr, on which Textual paints. size: columns, rows. encoding: of stderr.
    """
    if not isatty[0]:
        return "none"
    term = env.get("TERM", "")
    utf8 = (encoding or "").lower().replace("-", "").replace("_", "") == "utf8"
    small = size[0] < COLUMNS or size[1] < ROWS
    if not isatty[1] or env.get("FITUNE_PLAIN") or env.get("ACCESSIBLE") or term in _NO_SCREEN or not utf8 or small:
        return "plain"
    return "basic" if term in _SIXTEEN_COLOURS or term.startswith("vt") else "full"


def surface() -> Surface:
    """`decide` for this process."""
    asked, shown = is_terminal(sys.stdin), is_terminal(sys.stderr)
    size = os.get_terminal_size(sys.stderr.fileno()) if shown else (0, 0)
    return decide(os.environ, (asked, shown), size, sys.stderr.encoding if shown else None)


def is_terminal(stream: TextIO | None) -> bool:
    """True if a standard stream is a terminal; one that was closed before the start is None, and is none."""
    return stream is not None and stream.isatty()


def run(app: "App[Any]") -> int:
    """Run an app without mouse modes, and leave a working terminal behind. Returns the exit status."""
    settings = termios.tcgetattr(sys.stdin.fileno())
    watch_terminal()
    try:
        app.run(mouse=False)
    finally:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, settings)
    return app.return_code or 0


def exit_on_signals(app: "App[Any]") -> None:
    """End an app in good order on SIGTERM and SIGHUP, which Textual does not handle; call it from its `on_mount`.

    This overrides an ignored SIGHUP, as nohup leaves it: a screen without a terminal has nothing to live for.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, app.exit)


def watch_terminal(fd: int = 0, grace_s: float = GRACE_S) -> threading.Thread:
    """Start a thread that ends this process once its terminal is gone.

    The event loop may then be blocked in a write, where no signal handler of asyncio runs, or spin on the end of its
    input. Nothing is lost: training runs in another process.
    """
    thread = threading.Thread(target=_end_with_terminal, args=(fd, grace_s), name="terminal watchdog", daemon=True)
    thread.start()
    return thread


def _end_with_terminal(fd: int, grace_s: float) -> None:
    gone = select.POLLHUP | select.POLLERR | select.POLLNVAL
    poll = select.poll()
    poll.register(fd, 0)  # hang-up and error only: the keys are not ours to read
    while not any(event & gone for _, event in poll.poll(1000)):
        pass
    time.sleep(grace_s)
    os._exit(0)


def last_lines(run: Run) -> list[str]:
    """The last lines on the normal screen: the state of the run, the way back, its files."""
    name, job = clean(run.name), run.job()  # asked before the events are read: what a dead worker wrote is all there
    state = run.state()
    status = run.status(state)
    if status in LIVE:
        at = f" at step {state.step.step} of {state.total_steps}" if state.step else ""
        training = f"{name} goes on training by itself{at}."
        return [
            training if job in (None, "train") else f"The {clean(job, 20)} of {name} goes on by itself.",
            f"Watch it: fitune watch {name}",
            f"Stop it:  fitune stop {name}",
            f"Its log: {clean(str(run.log))}",
        ]
    from fitune.tui.watch.ending import ending

    end = ending(run, status, state)
    use = [f"Use it: fitune watch {name}, then u"] if state.trained and run.adapter.is_dir() else []
    return [f"{name}: {end.sentence}", *([end.next] if end.next else []), *use, f"Its folder: {clean(str(run.path))}"]
