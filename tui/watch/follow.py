"""A run told in plain lines, for `fitune watch` and `train` without a screen. Looking can't hurt the run."""

import shutil
import sys
import time
from typing import TextIO

from fitune.core.errors import ExitCode
from fitune.core.runs import LIVE, Run, RunState, Step, Tail
from fitune.tui.deliver.proof_text import table
from fitune.tui.text import clean, encodable
from fitune.tui.watch.ending import SILENT_AFTER_S, Story, ending
from fitune.tui.watch.event_text import line, memory_text

POLL_S = 0.25
EXIT_CODES = {
    "finished": ExitCode.DONE,
    "stopped": ExitCode.STOPPED,
    "failed": ExitCode.FAILED,
    "killed": ExitCode.FAILED,
}
TABLE_COLUMNS = 100


def follow_to_end(run: Run, from_start: bool = True) -> int:
    """Print a run's story to stderr until it ends; Ctrl+C leaves it running and says how to come back.

    from_start: also what was told before this call.
    """
    name = clean(run.name)
    promise = "" if run.holder_pid() is None else "you can close this window, the run goes on. "
    print(f"{name}: {promise}Its folder: {clean(str(run.path))}", file=sys.stderr)
    try:
        state = follow(run, sys.stderr, from_start, live=True)
    except KeyboardInterrupt:
        print(f"\nStill running. Watch it: fitune watch {name}   Stop it: fitune stop {name}", file=sys.stderr)
        return ExitCode.STOPPED
    status = run.status(state)
    checkpoint = run.newest_checkpoint()
    unfinished = status in ("stopped", "killed") or (status == "failed" and checkpoint)
    if unfinished and (run.untold(state) or state.job) == "train":
        way = "Go on from the last checkpoint" if checkpoint else "There is no checkpoint; start it over"
        print(f"{way}: fitune resume {name}", file=sys.stderr)
    return EXIT_CODES[status]


def follow(run: Run, out: TextIO, from_start: bool = True, live: bool = False) -> RunState:
    """Print a line for each step, evaluation, phase, warning and checkpoint until the worker is dead and all is told.

    from_start: also tell what happened before this call. live: where `out` is a terminal, rewrite one line with the
    newest step instead of a line for each. KeyboardInterrupt comes through and leaves the run alone.
    """
    story, tail, lines = Story(), Tail(run.events), _Lines(out, live and out.isatty())
    if not from_start:
        for event in tail.catch_up():
            story.apply(event)
    warned = False
    while True:
        alive = run.holder_pid() is not None  # asked before reading: what a dead worker wrote is all there
        for event in tail.catch_up():
            story.apply(event)
            if said := line(event, story):
                lines.progress(said) if isinstance(event.data, Step) else lines.say(said)
        if not alive:
            break
        silent_s = run.silent_s() or 0.0
        if silent_s > SILENT_AFTER_S and not warned:
            lines.say(f"WARN  no sign of life from the worker for {silent_s:.0f} s")
        warned = silent_s > SILENT_AFTER_S
        time.sleep(POLL_S)
    _tell_end(run, story.state, tail.bad_lines, lines)
    return story.state


def _tell_end(run: Run, state: RunState, bad_lines: int, lines: "_Lines") -> None:
    status = run.status(state)
    if status in LIVE:  # someone has resumed it meanwhile
        return
    if bad_lines:
        lines.say(f"WARN  {bad_lines} unreadable lines of events.jsonl were skipped")
    if state.memory and state.job == "train":
        lines.say(memory_text(state.memory))
    end = ending(run, status, state)
    lines.say(f"{end.mark:<5} {end.sentence}")
    for each in end.proofs:
        for text in ["", each.summary, *table(each, TABLE_COLUMNS), ""]:
            lines.say(f"      {text}".rstrip())
    # How to go on with a training that was cut off is said by whoever called.
    if end.next and (status in ("finished", "failed") or (run.untold(state) or state.job) != "train"):
        lines.say(f"      {end.next}")


class _Lines:
    """Lines on a stream, the last of which may be a progress line that the next one overwrites."""

    def __init__(self, out: TextIO, rewrite: bool) -> None:
        self._out, self._rewrite, self._shown = out, rewrite, 0

    def say(self, text: str) -> None:
        if self._shown:
            self._out.write("\r" + " " * self._shown + "\r")
            self._shown = 0
        self._out.write(encodable(text, self._out.encoding) + "\n")
        self._out.flush()

    def progress(self, text: str) -> None:
        if not self._rewrite:
            return self.say(text)
        text = encodable(text, self._out.encoding)[: shutil.get_terminal_size().columns - 1]
        self._out.write("\r" + text.ljust(self._shown))
        self._out.flush()
        self._shown = len(text)
        return None
