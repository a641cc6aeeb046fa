"""`python -m fitune.core.at_end.watcher RUN PID`: wait for the end of a run's worker, however it comes, and tell it."""

import sys
import time
from pathlib import Path

from fitune.core.at_end import Notice, end_of, kept, tell
from fitune.core.runs import Run

POLL_S = 1.0


def main() -> None:
    """Wait until the worker is gone; if none has taken its place, tell how the training ended."""
    run, pid = Run(Path(sys.argv[1])), sys.argv[2]
    while str(run.holder_pid()) == pid != "None":
        time.sleep(POLL_S)
    on_end, found = kept(run), end_of(run)
    if on_end and found:
        tell(on_end, Notice(run.name, *found, run.path))


if __name__ == "__main__":
    main()
