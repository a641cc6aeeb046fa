"""The end of worker.log, as a terminal would show it and nothing that a terminal would obey."""

import os
from pathlib import Path

from fitune.tui.text import log_line

ROWS, MOST_COLUMNS = 60, 400
BLOCK_BYTES = 16384


def tail_of(path: Path) -> tuple[str, ...]:
    """The last lines of a log, cleaned and cut; reads no more than one block of it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - BLOCK_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return (f"{path.name} can't be read: {error.strerror}",)
    shown = (log_line(line, MOST_COLUMNS) for line in text.split("\n"))
    return tuple([line for line in shown if line.strip()][-ROWS:]) or ("the log is empty",)
