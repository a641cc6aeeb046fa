"""What the screens cost: bytes on the wire, time to the first frame and to a key's answer, CPU and memory.

    uv run python bench/wire.py [--seconds 30] [--rounds 5] [--keys 100] [--stall 60]

A fake worker (tests/fake_worker.py) trains at 2 steps a second, and at 20 while keys are timed; the screen runs in a
pty that answers like a terminal. With --stall that pty also stops reading for so many seconds.
Prints one JSON document. Times are of this machine: compare only the ratio, which is taken in the same run.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.runs.run import Run
from tests.events import step_of
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
from fitune.core.runs.run import Run
from fitune.tui.app import run_watch
sys.exit(run_watch(Run(Path(sys.argv[1]))))
"""
WIZARD = "import sys; from fitune.tui.app import run_wizard; sys.exit(run_wizard())"
EDIT = """
import sys
from fitune.core.machine.gpu import Gpu
from fitune.core.machine.host import Machine
from fitune.tui.wizard import steps
from fitune.tui.app import FituneApp
from fitune.tui.wizard.draft import Draft
card = Gpu(0, "GPU-0", "NVIDIA L4", 24 << 30, 23 << 30, 1 << 30, compute_capability=(8, 9))
app = FituneApp(draft=Draft("8b-on-12gb", machine=Machine(gpus=(card,), gpu_state="ok")))
app.first_step = steps.named("edit")
app.run(mouse=False)
"""
BACKSPACE = "\x7f"
CONTENT_ROWS = 3
SETTLE_S = 5.0
"""The first frame and the first chart are not the steady state."""


def cost(run: Path, columns: int, rows: int, seconds: float) -> dict[str, float]:
    """Bytes a second, CPU share and resident memory while one run is watched."""
    terminal = PtyTerminal(python("-c", WATCH, str(run)), columns, rows)
    terminal.pump(SETTLE_S)
    process = psutil.Process(terminal.pid)
    began, cpu = time.monotonic(), cpu_s(terminal)
    terminal.pump(seconds)
    measured = {
        "bytes_per_s": round(terminal.bytes_per_s(SETTLE_S, SETTLE_S + seconds)),
        "cpu_percent": round(100 * (cpu_s(terminal) - cpu) / (time.monotonic() - began), 2),
        "rss_mib": round(process.memory_info().rss / 2**20, 1),
    }
    terminal.kill()
    return measured


def first_frame_s(code: str, rows: int, *arguments: str) -> float:
    """Seconds from the start of the process until so many rows of the screen hold text."""
    terminal = PtyTerminal(python("-c", code, *arguments))

    def is_there() -> bool:
        return sum(bool(re.search(r"\w", line)) for line in terminal.text().splitlines()) >= rows

    if not terminal.pump(20, is_there):
        raise RuntimeError(f"no frame with {rows} rows:\n{terminal.text()}")
    seconds = time.monotonic() - terminal.began
    terminal.kill()
    return seconds


def first_frames(run: Path, rounds: int) -> dict[str, float]:
    """Median seconds of each program in turns after one warm round, and the ratios to the minimal app.

    A frame of ours counts with three rows of text, that of the minimal app with its only one.
    """
    programs: dict[str, Callable[[], float]] = {
        "minimal": lambda: first_frame_s(MINIMAL, 1),
        "watch": lambda: first_frame_s(WATCH, CONTENT_ROWS, str(run)),
        "wizard": lambda: first_frame_s(WIZARD, CONTENT_ROWS),
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


def answer_s(terminal: PtyTerminal, key: str, answered: Callable[[], bool]) -> float:
    """Seconds from a key until its answer is on the screen."""
    began = time.monotonic()
    terminal.send(key)
    if not terminal.pump(5, answered):
        raise RuntimeError(f"no answer to {key!r}:\n{terminal.text()}")
    return terminal.began + terminal.writes[-1][0] - began


def changed(text: Callable[[], str]) -> Callable[[], bool]:
    """The condition that a text is another than now, and not empty."""
    before = text()
    return lambda: text() not in (before, "")


def cpu_s(terminal: PtyTerminal) -> float:
    """CPU seconds that the screen has used up to now: unlike its latency, they hardly depend on other programs."""
    used = psutil.Process(terminal.pid).cpu_times()
    return float(used.user + used.system)


def spread(times_s: list[float], cpu_seconds: float) -> dict[str, float]:
    """Median, 95th percentile and worst in milliseconds, and the CPU's share of each key."""
    ordered = sorted(1000 * each for each in times_s)
    return {
        "keys": len(ordered),
        "cpu_ms_each": round(1000 * cpu_seconds / len(ordered), 1),
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[int(0.95 * len(ordered))], 1),
        "worst_ms": round(ordered[-1], 1),
    }


def log_is(opened: bool, terminal: PtyTerminal) -> bool:
    """Whether the log pane is shown, or not: it stands at the bottom, and holds the fake worker's lines or will."""
    return (re.search(r"^ (reading the log|step \d+$)", terminal.text(), re.MULTILINE) is not None) is opened


def watch_keys(run: Path, keys: int) -> dict[str, float]:
    """`l` opens and closes the log, at moments that have nothing to do with the screen's clock."""
    terminal, dice = PtyTerminal(python("-c", WATCH, str(run))), random.Random(7)
    terminal.pump(SETTLE_S)
    used_s = cpu_s(terminal)
    times_s = []
    for number in range(keys):
        times_s.append(answer_s(terminal, "l", partial(log_is, number % 2 == 0, terminal)))
        terminal.pump(0.2 + dice.random())
    used_s = cpu_s(terminal) - used_s  # with what the run itself has cost meanwhile
    terminal.kill()
    return spread(times_s, used_s)


def edit_keys(keys: int) -> dict[str, dict[str, float]]:
    """Down moves through the form; a digit in Rank changes the budget beside it."""
    terminal, dice = PtyTerminal(python("-c", EDIT)), random.Random(7)
    if not terminal.pump(20, r"Rank +16"):
        raise RuntimeError(f"no form:\n{terminal.text()}")
    terminal.pump(1)

    def explained() -> str:
        """The line below the form: the key of the field in hand, and what it takes."""
        return terminal.text().rpartition("────\n")[2].partition("\n")[0]

    def budgeted() -> str:
        return next(line for line in terminal.text().splitlines() if "adapter" in line).split("│")[-1]

    moves_s, digits_s = [], []
    used_s = [cpu_s(terminal)]
    for _ in range(keys):
        moves_s.append(answer_s(terminal, "down", changed(explained)))
        terminal.pump(0.1 + 0.2 * dice.random())
    used_s.append(cpu_s(terminal))
    while "lora.r " not in explained():
        terminal.send("down")
        terminal.pump(0.5)
    terminal.send("4")  # takes the place of the 16
    terminal.pump(1)
    used_s.append(cpu_s(terminal))
    for number in range(keys):
        digits_s.append(answer_s(terminal, BACKSPACE if number % 2 else "8", changed(budgeted)))
        terminal.pump(0.1 + 0.2 * dice.random())
    used_s.append(cpu_s(terminal))
    terminal.kill()
    return {"move": spread(moves_s, used_s[1] - used_s[0]), "digit": spread(digits_s, used_s[3] - used_s[2])}


def shown_step(terminal: PtyTerminal) -> int:
    """The step that the status line shows, written as 1,234."""
    found = re.search(r"training +step ([0-9,]+)", terminal.text())
    return int(found[1].replace(",", "")) if found else 0


def stall(run: Path, seconds: float) -> dict[str, float]:
    """The terminal stops reading for a while: what the run did meanwhile, and when the screen was back."""
    terminal = PtyTerminal(python("-c", WATCH, str(run)), 200, 50)
    terminal.pump(SETTLE_S)
    process = psutil.Process(terminal.pid)
    steps, began_cpu_s, rss = step_of(Run(run)), cpu_s(terminal), process.memory_info().rss
    time.sleep(seconds)
    now = step_of(Run(run))
    used_s, grown = cpu_s(terminal) - began_cpu_s, process.memory_info().rss - rss
    began = time.monotonic()
    if not terminal.pump(30, lambda: shown_step(terminal) >= now):
        raise RuntimeError(f"the screen did not come back:\n{terminal.text()}")
    back_s = time.monotonic() - began
    key_s = answer_s(terminal, "l", partial(log_is, True, terminal))
    terminal.send("d")
    if not terminal.ended():
        raise RuntimeError("the screen did not end")
    return {
        "stalled_s": seconds,
        "steps_of_the_run_meanwhile": now - steps,
        "cpu_percent_meanwhile": round(100 * used_s / seconds, 2),
        "rss_grown_mib": round(grown / 2**20, 1),
        "up_to_date_after_s": round(back_s, 2),
        "key_answered_after_s": round(key_s, 2),
        "exit_status": terminal.status or 0,
    }


def about() -> dict[str, object]:
    """When, where and with what this was measured."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": unknown")
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {cpu.partition(':')[2].strip()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "textual": importlib.metadata.version("textual"),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--keys", type=int, default=100)
    options.add_argument("--stall", type=float, metavar="SECONDS")
    given = options.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users have their modules compiled; without, a start takes thrice
    document: dict[str, object] = {"about": about()}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FITUNE_HOME"] = folder
        for columns, rows in SIZES:
            run = make_run(Path(folder), f"live-{columns}")
            worker = start(run, "steps:3000", "--rate", "2")
            document[f"training {columns}x{rows}"] = cost(run, columns, rows, given.seconds)
            worker.kill()
        ended = make_run(Path(folder), "ended", told="ok")
        document["ended 80x24"] = cost(ended, 80, 24, 10)
        document["first frame"] = first_frames(ended, given.rounds)
        busy = make_run(Path(folder), "busy")
        worker = start(busy, "steps:30000", "--rate", "20")
        document["key on the watch screen, 20 events a second"] = watch_keys(busy, given.keys)
        if given.stall:
            document["terminal that stops reading, 200x50"] = stall(busy, given.stall)
        worker.kill()
        document["key in the form"] = edit_keys(given.keys)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
