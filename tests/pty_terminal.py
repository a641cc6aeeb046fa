"""A small terminal for tests and measurements: runs a command in a pty, answers queries, keeps every byte."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

from fitune.core.runs.run import Run
from tests.events import step_of
from tests.fake_worker import wait_until

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60
"""For what takes a fraction of a second: a shared machine may stall for seconds, and no test is about that."""
KEYS = {
    "enter": b"\r", "tab": b"\t", "esc": b"\x1b", "space": b" ", "up": b"\x1b[A", "down": b"\x1b[B", "left": b"\x1b[D",
    "right": b"\x1b[C", "ctrl+c": b"\x03", "ctrl+q": b"\x11", "f1": b"\x1bOP",
}  # fmt: skip
MODES = {
    "1049": "alternate screen", "1000": "mouse", "1002": "mouse", "1003": "mouse", "1006": "mouse", "1015": "mouse",
    "1004": "focus events", "2004": "bracketed paste", "2026": "synchronised output", "25": "cursor",
}  # fmt: skip
# What pyte 0.8 would show as text.
_UNKNOWN_TO_PYTE = re.compile(
    rb"\x1b\[[<>=][0-9;:]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\[[0-9;]*\$p|\x1b\[[0-9;]*t|\x1b\[[0-9;]* q"
    rb"|\x1bP[^\x1b]*\x1b\\|\x1b_[^\x1b]*\x1b\\|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-9;:<=>?$ ]*|\][^\x07\x1b]*\x1b?|P[^\x1b]*\x1b?|_[^\x1b]*\x1b?|[()#]?)?$")


class PtyTerminal:
    """A command on a terminal of its own; `pump` lets it run."""

    def __init__(
        self, command: list[str], columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
    ) -> None:
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("COLUMNS", "LINES", "TMUX", "STY", "COLORTERM")
        }
        self.raw = b""
        self.writes: list[tuple[float, int]] = []
        self.status: int | None = None
        self._rest = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.began = time.monotonic()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe(command[0], command, {**kept, "TERM": "xterm-256color", **(env or {})})
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def send(self, *keys: str) -> None:
        for key in keys:
            os.write(self.fd, KEYS.get(key, key.encode()))

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        """Hang up, as a dropped line does."""
        os.close(self.fd)
        self.fd = -1

    def text(self) -> str:
        """The screen as it looks now."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def pump(self, seconds: float, until: str | Callable[[], bool] | None = None) -> bool:
        """Let it run; True once `until` (a regex on the screen, or a condition) is met."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self._read():
                return until is None
            if until is not None and (until() if callable(until) else re.search(until, self.text())):
                return True
        return until is None

    def until(self, met: str | Callable[[], bool]) -> bool:
        """Let it run until a regex is on the screen, or a condition is met; False if neither comes."""
        return self.pump(PATIENCE_S, met)

    def ended(self) -> bool:
        """Whether the command ends by itself; then `status` has its exit status (-n: by signal n), and all is read."""
        deadline = time.monotonic() + PATIENCE_S
        while self.status is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                while self._has_more() and self._read():  # its last words may have come after the look before
                    pass
            elif not self._read():
                time.sleep(0.02)
        return self.status is not None

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.ended()
        if self.fd >= 0:
            self.close()

    def modes(self) -> dict[str, tuple[int, int]]:
        """How often each mode was switched on and off."""
        counted: dict[str, list[int]] = {}
        for numbers, switch in re.findall(rb"\x1b\[\?([0-9;]+)([hl])", self.raw):
            for number in numbers.decode().split(";"):
                if number in MODES:
                    counted.setdefault(MODES[number], [0, 0])["hl".index(switch.decode())] += 1
        return {name: (on, off) for name, (on, off) in counted.items()}

    def modes_left_on(self) -> list[str]:
        """Modes that were switched on more often than off, and the cursor if it was left hidden."""
        modes = self.modes()
        on, off = modes.pop("cursor", (0, 0))
        return [name for name, (ons, offs) in modes.items() if ons > offs] + (["hidden cursor"] if off > on else [])

    def bytes_per_s(self, after_s: float, until_s: float) -> float:
        """Mean bytes written a second between two times since the start."""
        return sum(n for t, n in self.writes if after_s <= t < until_s) / (until_s - after_s)

    def _has_more(self, wait_s: float = 0) -> bool:
        return self.fd >= 0 and bool(select.select([self.fd], [], [], wait_s)[0])

    def _read(self) -> bool:
        """Take what was written; False once nothing can come any more."""
        if self.fd < 0:
            return False
        if not self._has_more(0.02):
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: the other end has closed
            data = b""
        if not data:
            return False
        self.raw += data
        self.writes.append((time.monotonic() - self.began, len(data)))
        self._answer(data)
        data = self._rest + data
        found = _UNFINISHED.search(data)
        self._rest = data[found.start() :] if found else b""
        self._stream.feed(_UNKNOWN_TO_PYTE.sub(b"", data[: len(data) - len(self._rest)]))
        return True

    def _answer(self, data: bytes) -> None:
        for mode in re.findall(rb"\x1b\[\?(\d+)\$p", data):
            os.write(self.fd, b"\x1b[?%s;%d$y" % (mode, 2 if mode == b"2026" else 0))
        if re.search(rb"\x1b\[0?c", data):
            os.write(self.fd, b"\x1b[?62;22c")
        if b"\x1b[6n" in data:
            os.write(self.fd, b"\x1b[1;1R")


def wait_for_steps(run: Path, steps: int) -> None:
    """Until a training has gone on by so many steps. Raises AssertionError if it does not."""
    before = step_of(Run(run))
    wait_until(lambda: step_of(Run(run)) > before + steps)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def watch_command(run: Path, *options: str) -> list[str]:
    """The command that watches a run on its terminal; with "plain", in ASCII."""
    return python("-c", _WATCH, str(run), *options)


_WATCH = """
import sys
from pathlib import Path
from fitune.core.runs.run import Run
from fitune.tui.app import run_watch
sys.exit(run_watch(Run(Path(sys.argv[1])), plain_glyphs="plain" in sys.argv))
"""
