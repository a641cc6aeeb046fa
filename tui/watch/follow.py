"""Follow a run in plain lines, for `fitune watch` and `train` without a screen. It can't disturb the run."""

import shutil
import sys
import time
from typing import TextIO

from fitune.core.errors import ExitCode
from fitune.core.runs import LIVE, Run, RunState, Step, Tail
from fitune.core.runs.findings import findings
from fitune.tui.deliver.proof_text import table
from fitune.tui.text import clean, encodable, wrapped
from fitune.tui.watch.ending import ending
from fitune.tui.watch.event_text import GAP, event_line, memory_text
from fitune.tui.watch.progress import SILENT_AFTER_S, RunProgress

POLL_S = 0.25
EXIT_CODES = {
    "finished": ExitCode.DONE,
    "stopped": ExitCode.STOPPED,
    "failed": ExitCode.FAILED,
    "killed": ExitCode.FAILED,
}
TABLE_COLUMNS = 100
PARTS_KEPT = 3
"""The numbers of a step that a narrow terminal shows: the step, its loss, and the time left."""


def follow_to_end(run: Run, from_start: bool = True, tells_verdict: bool = True) -> int:
    """Print a run's events to stderr until it ends, and return the exit status. Ctrl+C leaves the run alone.

    from_start: also print the events before this call. tells_verdict: False if the caller prints the scores then.
    """
    name = clean(run.name)
    promise = "" if run.holder_pid() is None else "you can close this window, the run goes on. "
    print(wrapped(f"{name}: {promise}Its folder: {clean(str(run.path))}", sys.stderr), file=sys.stderr)
    try:
        state = follow(run, sys.stderr, from_start, live=True, tells_verdict=tells_verdict)
    except KeyboardInterrupt:
        print(f"\nStill running. Watch it: fitune watch {name}\nStop it: fitune stop {name}", file=sys.stderr)
        return ExitCode.STOPPED
    status = run.status(state)
    checkpoint = run.newest_checkpoint()
    unfinished = status in ("stopped", "killed") or (status == "failed" and checkpoint)
    if unfinished and (run.silent_job(state) or state.job) == "train":
        action = "Go on from the last checkpoint" if checkpoint else "There is no checkpoint; start it over"
        print(f"{action}: fitune resume {name}", file=sys.stderr)
    return EXIT_CODES[status]


def follow(run: Run, out: TextIO, from_start: bool = True, live: bool = False, tells_verdict: bool = True) -> RunState:
    """Print a line for each step, evaluation, phase, warning and checkpoint, and the end once the worker is dead.

    from_start: also print the events before this call. live: if `out` is a terminal, rewrite one line with the
    newest step instead of a line for each. tells_verdict: with the end. A KeyboardInterrupt is raised and leaves the
    run alone.
    """
    progress, tail, lines = RunProgress(), Tail(run.events), _LineWriter(out, live and out.isatty())
    if not from_start:
        for event in tail.catch_up():
            progress.apply(event)
    warned, told = False, set[str]()
    while True:
        alive = run.holder_pid() is not None  # asked before reading: a dead worker writes no more
        has_news = False
        for event in tail.catch_up():
            has_news = True
            progress.apply(event)
            if text := event_line(event, progress):
                lines.rewrite(text) if isinstance(event.data, Step) else lines.write(text)
        for found in findings(progress.state) if has_news else ():
            if found.kind not in told:
                lines.write(f"WARN  {clean(found.text, 500)}")
                told.add(found.kind)
        if not alive:
            break
        silent_s = run.silent_s() or 0.0
        if silent_s > SILENT_AFTER_S and not warned:
            lines.write(f"WARN  no sign of life from the worker for {silent_s:.0f} s")
        warned = silent_s > SILENT_AFTER_S
        time.sleep(POLL_S)
    _write_end(run, progress.state, tail.bad_lines, lines, tells_verdict)
    return progress.state


def _write_end(run: Run, state: RunState, bad_lines: int, lines: "_LineWriter", tells_verdict: bool) -> None:
    status = run.status(state)
    if status in LIVE:  # someone has resumed it meanwhile
        return
    if bad_lines:
        lines.write(f"WARN  {bad_lines} unreadable lines of events.jsonl were skipped")
    if state.memory and state.job == "train":
        for memory in (state.memory, *(state.memory_beside[card] for card in sorted(state.memory_beside))):
            lines.write(memory_text(memory))
    end = ending(run, status, state, tells_verdict)
    lines.write(f"{end.mark:<5} {end.sentence}")
    for proof in end.proofs:
        for text in ["", proof.summary, *table(proof, TABLE_COLUMNS), ""]:
            lines.write(f"      {text}".rstrip())
    # The caller says how to resume a training.
    if end.next and (status in ("finished", "failed") or (run.silent_job(state) or state.job) != "train"):
        lines.write(f"      {end.next}")


class _LineWriter:
    """Writes lines to a stream; the last may be a progress line, which the next one overwrites."""

    def __init__(self, out: TextIO, can_rewrite: bool) -> None:
        self._out, self._can_rewrite, self._shown = out, can_rewrite, 0

    def write(self, text: str) -> None:
        if self._shown:
            self._out.write("\r" + " " * self._shown + "\r")
            self._shown = 0
        self._out.write(encodable(wrapped(text, self._out), self._out.encoding) + "\n")
        self._out.flush()

    def rewrite(self, text: str) -> None:
        if not self._can_rewrite:
            return self.write(text)
        text, columns = encodable(text, self._out.encoding), shutil.get_terminal_size().columns - 1
        parts = text.split(GAP)
        while len(text) > columns and len(parts) > PARTS_KEPT:
            parts.pop(-2)  # the last is the time left
            text = GAP.join(parts)
        text = text[:columns]
        self._out.write("\r" + text.ljust(self._shown))
        self._out.flush()
        self._shown = len(text)
        return None
