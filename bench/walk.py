"""What a user sees on a whole walk: feedback after each key, frames without content, and a job until its first step.

    uv run python bench/walk.py [--rounds 3] [--no-job]

fitune runs in a pty at 80x24 and at 120x40: home, presets, settings, data, review, back and forth. At 80x24 the last
Enter starts a real training of SmolLM2-135M on the processor, which is watched until its first step and killed. Every
byte is kept and played back: a frame ends where the terminal is told to show it (synchronised output). Prints a JSON
document.

Feedback is the first byte that comes after a key. Every key of the walk changes the screen where it is pressed; one
that brings nothing within 2 s ends the bench. While tokens are counted a tick of the clock may be taken for an answer.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyte

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.wire import about
from fitune.core import runs
from tests.pty_terminal import _UNKNOWN_TO_PYTE, PtyTerminal, python

SIZES = ((80, 24), (120, 40))
FITUNE = "import os, sys; os.chdir(sys.argv[1]); from fitune.tui.app import run_wizard; sys.exit(run_wizard())"
END_OF_FRAME = b"\x1b[?2026l"
CONTENT_ROWS = 3
STEPS = (  # what is on the screen, and the keys that are pressed there, each with its own time
    ("Start a new fine-tune", ("?", "esc", "enter")),
    ("Which starting point", ("down", "down", "up", "up", "enter")),
    ("Change anything", ("down", "down", "down", "8", "\x7f", "1", "6", "up", "up", "up", "enter")),
    ("What shall it learn from", ("tab", "tab", "tab", "esc")),
    ("Change anything", ("enter",)),
    ("What shall it learn from", ("enter",)),
    ("Start the training", ("?", "esc")),
)
PATIENCE_S = 60
FEEDBACK_WITHIN_S = 2.0
BETWEEN_S = 0.3
"""A person looks between two keys."""


class Feedback(NamedTuple):
    """The first byte after a key."""

    seconds: float
    cpu_s: float
    """What the screen's process has computed meanwhile: other programs hardly change it."""
    where: str


def cpu_s(terminal: PtyTerminal) -> float:
    """CPU seconds of all threads of the screen's process, by Linux's scheduler."""
    tasks = Path(f"/proc/{terminal.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def feedback(terminal: PtyTerminal, key: str, where: str) -> Feedback:
    """The first byte that a key brings. Raises RuntimeError if nothing comes."""
    before, began, used_s = len(terminal.writes), time.monotonic(), cpu_s(terminal)
    terminal.send(key)
    if not terminal.pump(FEEDBACK_WITHIN_S, lambda: len(terminal.writes) > before):
        raise RuntimeError(f"{key!r} brings nothing:\n{terminal.text()}")
    seconds = terminal.began + terminal.writes[before][0] - began
    return Feedback(seconds, cpu_s(terminal) - used_s, f"{key!r} at {where!r}")


def walk(terminal: PtyTerminal, dice: random.Random) -> list[Feedback]:
    """From home to the review."""
    times: list[Feedback] = []
    for words, keys in STEPS:
        if not terminal.pump(PATIENCE_S, words):
            raise RuntimeError(f"no {words!r}:\n{terminal.text()}")
        for key in keys:
            terminal.pump(BETWEEN_S + dice.random() / 4)
            times.append(feedback(terminal, key, words))
    return times


def frames(raw: bytes, columns: int, rows: int) -> Iterator[str]:
    """The screen at the end of each frame."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    for frame in raw.split(END_OF_FRAME)[:-1]:
        stream.feed(_UNKNOWN_TO_PYTE.sub(b"", frame))
        yield "\n".join(screen.display)


def has_content(text: str) -> bool:
    """True if three rows hold words or numbers."""
    return sum(bool(re.search(r"\w", line)) for line in text.splitlines()) >= CONTENT_ROWS


def job(terminal: PtyTerminal) -> dict[str, float]:
    """The last Enter, and what comes until the first step: its first words, and the longest time without news."""
    terminal.pump(1)  # else the last Esc and this key were one
    began = time.monotonic()
    terminal.send("enter")
    if not terminal.pump(PATIENCE_S, r"[Ss]tarting"):
        raise RuntimeError(f"no first words:\n{terminal.text()}")
    words_s = time.monotonic() - began
    if not terminal.pump(600, r"step 1 of \d+"):
        raise RuntimeError(f"no first step:\n{terminal.text()}")
    step_s = time.monotonic() - began
    at = [began - terminal.began, *(t for t, _ in terminal.writes if t >= began - terminal.began)]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    return {
        "first_words_s": round(words_s, 2),
        "first_step_s": round(step_s, 1),
        "writes": len(gaps),
        "longest_silence_s": round(max(gaps), 2),
    }


def spread(times_s: list[float]) -> dict[str, float]:
    """Median, 95th percentile and worst in milliseconds."""
    ordered = sorted(1000 * each for each in times_s)
    places = {"median": len(ordered) // 2, "p95": int(0.95 * len(ordered)), "worst": -1}
    return {name: round(ordered[place], 1) for name, place in places.items()}


def session(columns: int, rows: int, with_job: bool, rounds: int) -> dict[str, object]:
    """Recorded sessions, each in a home of its own; the last one starts a training."""
    times: list[Feedback] = []
    dice, told = random.Random(7), dict[str, float]()
    blank = drawn = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FITUNE_HOME"], work = folder, Path(folder) / "work"
            work.mkdir()
            shutil.copy(Path(__file__).parent / "gsm8k.jsonl", work / "questions.jsonl")
            terminal = PtyTerminal(python("-c", FITUNE, str(work)), columns, rows)
            try:
                times += walk(terminal, dice)
                told = job(terminal) if with_job and number == rounds - 1 else told
            finally:
                terminal.kill()
                for run in runs.all_runs(Path(folder)):
                    run.kill()
            found = [has_content(text) for text in frames(terminal.raw, columns, rows)]
            drawn, blank = drawn + len(found), blank + found.count(False)
    return {
        "keys": len(times),
        "feedback_ms": spread([each.seconds for each in times]),
        "cpu_until_feedback_ms": spread([each.cpu_s for each in times]),
        "slowest": [f"{1000 * each.seconds:.0f} ms: {each.where}" for each in sorted(times)[:-4:-1]],
        "frames": drawn,
        "frames_without_content": blank,
        **({"job": told} if told else {}),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, help="walks at each size")
    options.add_argument("--no-job", action="store_true", help="start no training")
    given = options.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users have their modules compiled
    document: dict[str, object] = {"about": about()}
    for columns, rows in SIZES:
        with_job = not given.no_job and (columns, rows) == SIZES[0]
        document[f"{columns}x{rows}"] = session(columns, rows, with_job, given.rounds)
    document["load_at_the_end"] = round(os.getloadavg()[0], 2)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
