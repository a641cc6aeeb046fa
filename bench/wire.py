"""What the watch screen costs: bytes on the wire, time to the first frame, CPU and memory of the process.

    uv run python bench/wire.py [--seconds 30] [--rounds 5]

A fake worker (tests/fake_worker.py) trains at 2 steps a second; the screen runs in a pty that answers like a terminal.
Prints one JSON document. Times are of this machine: compare only the ratio, which is taken in the same run.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.fake_worker import make_run, start
from tests.pty_terminal import PtyTerminal, python

SIZES = ((80, 24), (200, 50))
MINIMAL = """
from textual.app import App
from textual.widgets import Static
class Minimal(App):
    def compose(self):
        yield Static("fitune", markup=False)
Minimal().run(mouse=False)
"""
WATCH = """
import sys
from pathlib import Path
from core.runs import Run
from tui.app import run_watch
sys.exit(run_watch(Run(Path(sys.argv[1]))))
"""
WIZARD = "import sys; from tui.app import run_wizard; sys.exit(run_wizard())"
SETTLE_S = 5.0
"""The first frame and the first chart are not the steady state."""


def cost(run: Path, columns: int, rows: int, seconds: float) -> dict[str, float]:
    """Bytes a second, CPU share and resident memory while one run is watched."""
    terminal = PtyTerminal(python("-c", WATCH, str(run)), columns, rows)
    terminal.pump(SETTLE_S)
    process = psutil.Process(terminal.pid)
    began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
    terminal.pump(seconds)
    measured = {
        "bytes_per_s": round(terminal.bytes_per_s(SETTLE_S, SETTLE_S + seconds)),
        "cpu_percent": round(100 * (sum(process.cpu_times()[:2]) - cpu) / (time.monotonic() - began), 2),
        "rss_mib": round(process.memory_info().rss / 2**20, 1),
    }
    terminal.kill()
    return measured


def first_frame_s(code: str, word: str, *arguments: str) -> float:
    """Seconds from the start of the process until the word is on the screen."""
    terminal = PtyTerminal(python("-c", code, *arguments))
    if not terminal.pump(20, word):
        raise RuntimeError(f"no frame with {word!r}:\n{terminal.text()}")
    seconds = time.monotonic() - terminal.began
    terminal.kill()
    return seconds


def first_frames(run: Path, rounds: int) -> dict[str, float]:
    """Median seconds of each program in turns after one warm round, and the ratios to the minimal app."""
    programs = {
        "minimal": lambda: first_frame_s(MINIMAL, "fitune"),
        "watch": lambda: first_frame_s(WATCH, "fitune", str(run)),
        "wizard": lambda: first_frame_s(WIZARD, "fitune"),
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            seconds = program()
            if number:
                times[name].append(seconds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    ratios = {f"{name}_ratio": round(medians[name] / medians["minimal"], 2) for name in ("watch", "wizard")}
    return {f"{name}_s": round(seconds, 3) for name, seconds in medians.items()} | ratios


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    document: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for columns, rows in SIZES:
            run = make_run(Path(folder), f"live-{columns}")
            worker = start(run, "steps:3000", "--rate", "2")
            document[f"training {columns}x{rows}"] = cost(run, columns, rows, given.seconds)
            worker.kill()
        ended = make_run(Path(folder), "ended", told="ok")
        document["ended 80x24"] = cost(ended, 80, 24, 10)
        document["first frame"] = first_frames(ended, given.rounds)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
