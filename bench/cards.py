"""Two cards against one, by `fitune train`: pace, memory of each card, resume on fewer, a killed process, a 70B model.

usage: python bench/cards.py MODELS_DIR ROWS.jsonl [--limit-s 380] [--only TEXT ...] [--tokenizer FOLDER] [--out FILE]
Models are random weights stored in 4 bits, made in MODELS_DIR; runs lie in $FITUNE_HOME. Several trainings begin side
by side, as most of their time goes into imports; those whose pace counts are held still (SIGSTOP) once their model is
in host RAM, and once all of them are, each has its turn on the idle machine. They are not held later: a card that waits
in NCCL for a process which is held takes its time from the other processes on it. One JSON line a case, which says why
where it failed. Bytes, seconds.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from bench.card_cases import KILLED, LARGE, LARGE_ALONE, MEMORIES, PACES, RESUMED, Case
from bench.fits import HOLD
from fitune.core.runs import Event, Finished, Memory, Phase, Run, Step, Tail
from fitune.core.units import GIB

COMMON = {"data.eval_fraction": 0, "data.packing": False, "train.max_steps": 200, "train.save_every": 100_000}
WARM_STEPS, PACE_S = 5, 12.0
AT_ONCE, THREADS = 7, 2
"""Trainings without a clock that run side by side, and threads of each process: 17 at once with 32 threads each kept
32 cores so busy that none came to its third step within three minutes; of four, 26 cores had nothing to do."""
FREE_GIB = 24
Row = dict[str, Any]


class Failed(Exception):
    """A case that did not do what it should; the text says what."""


class Bench:
    """The folders of this script, and its end."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.models: Path = args.models
        self.out: Path = args.out
        self.tokenizer: Path | None = args.tokenizer
        self.end: float = time.monotonic() + args.limit_s
        self.home = Path(os.environ["FITUNE_HOME"])
        self.rows = {"short": args.rows, "full": self.home / "full.jsonl"}
        self.home.mkdir(parents=True, exist_ok=True)
        text = "the quick brown fox jumps over the lazy dog " * 500
        self.rows["full"].write_text("".join(json.dumps({"text": f"{n} {text}"}) + "\n" for n in range(400)))
        self.making: dict[Path, threading.Lock] = {}

    def left_s(self) -> float:
        return self.end - time.monotonic()

    def write(self, row: Row) -> None:
        """Print a row, and add it to the file."""
        line = json.dumps(row) + "\n"
        print(line, end="", flush=True)
        with self.out.open("a") as file:
            file.write(line)

    def model(self, case: Case) -> Path:
        """The model of a case, made by the first that asks for it. Raises Failed."""
        folder = self.models / f"{case.model.rpartition('/')[2]}-{case.layers or 'all'}"
        with self.making.setdefault(folder, threading.Lock()):
            if folder.exists():
                return folder
            aside, layers = folder.with_name(folder.name + ".part"), [str(case.layers)] if case.layers else []
            script = str(Path(__file__).with_name("make_model.py"))
            code, _, told = vram.ended([sys.executable, script, case.model, str(aside), *layers, "--nf4"], 120)
            if code:
                raise Failed(f"{case.model} could not be made: {told}")
            if self.tokenizer:
                shutil.copytree(self.tokenizer, aside, dirs_exist_ok=True)
            aside.rename(folder)
        return folder

    def start(self, case: Case) -> Run:
        """Start the training of a case, by itself. Raises Failed."""
        texts = {"model.id": str(self.model(case)), "data.source": str(self.rows[case.rows])}
        pairs = [f"{name}={value}" for name, value in texts.items()]
        pairs += [f"{name}={json.dumps(value)}" for name, value in {**COMMON, **case.sets}.items()]
        home = self.home / str(abs(hash(case.name + str(case.sets) + case.model)))
        home.mkdir()
        (home / "empty.toml").write_text("")
        return self.fitune(home, "train", str(home / "empty.toml"), *(f"--set={pair}" for pair in pairs), "--yes")

    def fitune(self, home: Path, *words: str) -> Run:
        """Begin a training by the command line. Raises Failed."""
        command = [sys.executable, "-P", "-m", "fitune", *words, "--detach", "--share-gpu"]
        code, name, told = vram.ended(command, 90, {**os.environ, "FITUNE_HOME": str(home)})
        if code:
            raise Failed(told)
        return Run(home / "runs" / name.strip())

    def wait(self, run: Run, until: Callable[[], bool], limit_s: float = 150) -> None:
        """Wait for a thing to be so in a run that lives. Raises Failed if it ends before, or takes too long."""
        end = time.monotonic() + min(limit_s, self.left_s())
        while not until():
            if run.holder_pid() is None and not until():
                last = events(run)[-1:]
                raise Failed(f"ended: {getattr(last[0].data, 'message', last[0].data) if last else 'without a word'}")
            if time.monotonic() > end:
                signal_all(run, signal.SIGKILL)
                raise Failed(f"took too long; {len(steps(run))} steps")
            time.sleep(0.1)

    def told(self, case: Case, measure: Callable[[], Row]) -> None:
        """Write the row of a case, or why there is none."""
        row: Row = {"case": case.name, "model": case.model, "layers": case.layers, **case.sets}
        try:
            self.write(row | measure())
        except Exception as error:  # whatever it is: the other cases go on
            self.write(row | {"failed": f"{type(error).__name__}: {error}"[:500]})


def events(run: Run) -> list[Event]:
    return list(Tail(run.events).read())


def steps(run: Run) -> list[tuple[float, Step]]:
    """Each step, with the time of its end."""
    return [(event.t, event.data) for event in events(run) if isinstance(event.data, Step)]


def signal_all(run: Run, number: int) -> None:
    """Send a signal to all processes of a run."""
    pid = run.holder_pid()
    with suppress(ProcessLookupError):
        if pid:
            os.killpg(pid, number)


def memory_of(run: Run) -> list[Row]:
    """The peaks of each card, in order, from the last word on it."""
    cards = {event.data.card or 0: event.data for event in events(run) if isinstance(event.data, Memory)}
    names = ("peak_device", "peak_reserved", "peak_allocated", "peak_host", "predicted")
    return [{name: getattr(cards[card], name) for name in names} for card in sorted(cards)]


def steady(run: Run) -> Row:
    """The pace of a training after its first steps, by the clock."""
    found = [(at, step) for at, step in steps(run) if (step.step or 0) > WARM_STEPS]
    (began, first), (ended, last) = found[0], found[-1]
    tokens, seconds = (last.seen_tokens or 0) - (first.seen_tokens or 0), ended - began
    return {"steps": len(found) - 1, "tokens_per_s": round(tokens / seconds), "step_s": seconds / (len(found) - 1)}


def measure_memory(bench: Bench, case: Case) -> Row:
    run = bench.start(case)
    bench.wait(run, lambda: run.state().trained)
    return {"cards": memory_of(run)}


def measure_resume(bench: Bench, case: Case) -> Row:
    """Stop after a checkpoint, then go on on one card."""
    run = bench.start(case)
    bench.wait(run, lambda: (run.checkpoints / "checkpoint-4").exists())
    run.request_stop()
    bench.wait(run, lambda: isinstance(events(run)[-1].data, Finished) and run.holder_pid() is None)
    stopped_at = len(steps(run))
    bench.fitune(run.path.parent.parent, "resume", run.name, "--gpus", "1")
    bench.wait(run, lambda: run.state().trained)
    losses = [round(step.loss or 0, 4) for _, step in steps(run)]
    return {"stopped_at": stopped_at, "ranks_after": run.info().ranks, "losses": losses}


def measure_kill(bench: Bench, case: Case) -> Row:
    """Kill the process of the second card: nothing of the run may be left, and the story must be told."""
    run = bench.start(case)
    bench.wait(run, lambda: len(steps(run)) >= 5)
    leader = run.holder_pid() or 0
    table = subprocess.run(["ps", "-eo", "pid=,pgid=,args="], capture_output=True, text=True).stdout.splitlines()
    group = {int(line.split()[0]): line for line in table if int(line.split()[1]) == leader}
    os.kill(next(pid for pid, line in group.items() if line.endswith(f" train {leader}")), signal.SIGKILL)
    killed = time.monotonic()
    while run.holder_pid() is not None and time.monotonic() < killed + 60:
        time.sleep(0.05)
    gone_s = time.monotonic() - killed
    time.sleep(1)
    left = [pid for pid in group if _is_alive(pid)]
    query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    on_cards = [int(pid) for pid in subprocess.run(query, capture_output=True, text=True).stdout.split()]
    last = events(run)[-1].data
    said = str(getattr(last, "message", last))
    return {"gone_s": gone_s, "left": left, "on_cards": [pid for pid in on_cards if pid in group], "said": said}


def _is_alive(pid: int) -> bool:
    """True for a process that is more than a line in the table of processes."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def hold(bench: Bench, case: Case) -> Run:
    """Start a training, and hold it still once its model is loaded, and not yet split over the cards. Raises Failed."""
    run = bench.start(case)
    bench.wait(run, lambda: is_loaded(run), 240)
    signal_all(run, signal.SIGSTOP)
    return run


def is_loaded(run: Run) -> bool:
    return any(isinstance(event.data, Phase) and event.data.name == "data" for event in events(run))


def measure_pace(bench: Bench, held: "Future[Run]") -> Row:
    """Let a held training go on by itself for a while, after the first steps."""
    run = held.result()
    signal_all(run, signal.SIGCONT)
    bench.wait(run, lambda: len(steps(run)) > WARM_STEPS, 100)
    began, enough = time.monotonic(), len(steps(run)) + 4
    bench.wait(run, lambda: time.monotonic() > began + PACE_S and len(steps(run)) >= enough, 60)
    signal_all(run, signal.SIGKILL)
    return {**steady(run), "cards": memory_of(run)}


def measure_large(bench: Bench, held: "Future[Run]") -> Row:
    """Let the 70B model train with so much memory for it on each card, and no more."""
    run = held.result()
    holders = [_ballast(card.uuid, run) for card in run.info().cards]
    free = [int(holder.stdout.readline()) for holder in holders if holder.stdout]
    try:
        signal_all(run, signal.SIGCONT)
        bench.wait(run, lambda: len(steps(run)) >= 20, bench.left_s() - 3)
    finally:
        signal_all(run, signal.SIGKILL)
        for holder in holders:
            holder.kill()
    return {"free": free, **steady(run), "cards": memory_of(run)}


def _ballast(uuid: str, run: Run) -> "subprocess.Popen[str]":
    """A process that holds a card's memory but FREE_GIB, of which the run may hold a part already."""
    import pynvml

    pynvml.nvmlInit()
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByUUID(uuid))
    leader = run.holder_pid()
    own = sum(int(each.usedGpuMemory or 0) for each in processes if os.getpgid(each.pid) == leader)
    command = [sys.executable, "-c", HOLD, str(FREE_GIB * GIB - own), str(GIB)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": uuid}
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("models", type=Path)
    options.add_argument("rows", type=Path)
    options.add_argument("--limit-s", type=float, default=380)
    options.add_argument("--only", nargs="*", default=[""], help="cases whose names have one of these")
    options.add_argument("--tokenizer", type=Path, help="a folder of tokenizer files that the models get")
    options.add_argument("--out", type=Path, default=Path("cards.jsonl"))
    args = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    bench = Bench(args)
    bench.write({"about": vram.about(), "cpus": os.cpu_count()})
    run_cases(bench, lambda case: any(text in case.name for text in args.only))


def run_cases(bench: Bench, wanted: Callable[[Case], bool]) -> None:
    """All cases: those without a clock run side by side while the models of the others are loaded, which then run one
    by one; the 70B model over two cards comes last."""
    measures: Mapping[Case, Callable[[Bench, Case], Row]] = {
        **dict.fromkeys(MEMORIES, measure_memory),
        RESUMED: measure_resume,
        KILLED: measure_kill,
    }
    paces = [case for case in (*PACES, LARGE_ALONE) if wanted(case)]
    with ThreadPoolExecutor(16) as starting, ThreadPoolExecutor(AT_ONCE) as pool:
        held = {case: starting.submit(hold, bench, case) for case in (*paces, LARGE) if wanted(case)}
        clockless = [
            pool.submit(bench.told, case, partial(measure, bench, case))
            for case, measure in measures.items()
            if wanted(case)
        ]
        wait(clockless)
        wait(held[case] for case in paces)
        for case in paces:
            bench.told(case, partial(measure_pace, bench, held[case]))
        if wanted(LARGE):
            bench.told(LARGE, partial(measure_large, bench, held[LARGE]))


if __name__ == "__main__":
    main()
