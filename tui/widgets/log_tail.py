"""The last lines of worker.log as a terminal would show them, without its escape sequences."""

import os
from pathlib import Path

from fitune.core.files import open_file
from fitune.tui.text import log_line

ROWS, MAX_COLUMNS = 60, 400
BLOCK_BYTES = 16384
LONG_ROWS, LONG_BLOCK_BYTES = 4000, 1 << 18
"""For a log to scroll and search in."""


def log_tail(path: Path, rows: int = ROWS, block_bytes: int = BLOCK_BYTES) -> tuple[str, ...]:
    """The last lines of a log, cleaned and cut; it reads at most one block of the file."""
    try:
        with open(open_file(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - block_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return (f"{path.name} can't be read: {error.strerror}",)
    shown = (log_line(line, MAX_COLUMNS) for line in text.split("\n"))
    return tuple([line for line in shown if line.strip()][-rows:]) or ("the log is empty",)


def last_note(path: Path) -> str:
    """The newest line of a run's notes, cleaned; empty where there are none."""
    return log_tail(path)[-1] if path.is_file() and path.stat().st_size else ""
