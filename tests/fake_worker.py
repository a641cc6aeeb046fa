"""A stand-in for the training worker, without its libraries: it replays a story of events, and fails in any way asked.

    python tests/fake_worker.py RUN_FOLDER STORY [--rate 20] [--then end|die|hang] [--silent]

STORY is a file of events (tests/data/runs/*.jsonl) or `steps:300`, a made-up training of so many steps. Like the real
one it holds the run's lock, shows signs of life, heeds the stop file, and writes each event with one append.
ok.jsonl is the record of a real run on a CPU; the others are made after it.
"""

import argparse
import fcntl
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fitune.core.records import to_json
from fitune.core.runs import Checkpoint, Eval, EventData, Finished, Memory, Phase, Started, Step

STORIES = Path(__file__).parent / "data" / "runs"
GIB = 1 << 30
PREDICTED = int(7.7 * GIB)
RECIPE = {"version": 1, "model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct"}, "data": {"source": "rows.jsonl"}}


def made_up(steps: int) -> Iterator[EventData]:
    """A training as a GPU run tells it: a falling, noisy loss, evaluations and checkpoints ten times."""
    dice = random.Random(7)
    yield Started(backend="unsloth", dtype="bfloat16", device="NVIDIA H100 80GB HBM3")
    yield Phase(name="load", model="unsloth/Meta-Llama-3.1-8B")
    yield Phase(name="train", total_steps=steps, epochs=3)
    for step in range(1, steps + 1):
        done = step / steps
        trend = 0.9 + 1.4 * math.exp(-6 * done)
        yield Step(
            step=step,
            epoch=3 * done,
            loss=trend + dice.gauss(0, 0.06),
            lr=2e-4 * (1 - done),
            grad_norm=0.6 + dice.random() * 0.4,
            tokens_per_s=9600 + dice.gauss(0, 80),
            seen_tokens=4096 * step,
            step_s=0.43,
        )
        if step % 50 == 1:
            allocated, reserved, device = int(6.4 * GIB), int(7.1 * GIB), int(7.6 * GIB)
            yield Memory(
                step=step,
                allocated=allocated,
                reserved=reserved,
                device=device,
                peak_allocated=allocated,
                peak_reserved=reserved,
                peak_device=device,
                predicted=PREDICTED,
            )
        if step % max(1, steps // 10) == 0:
            yield Eval(step=step, loss=trend + 0.08, elapsed_s=4.0)
            yield Checkpoint(step=step)
    yield Finished(
        steps=steps, total_steps=steps, elapsed_s=0.43 * steps, first_loss=2.3, last_loss=0.9, eval_loss=0.98
    )


def as_read(data: EventData) -> dict[str, Any]:
    """An event as a file of a story has it."""
    return {"type": data.type, "data": to_json(data)}


def story(name: str) -> Iterator[dict[str, Any]]:
    """The events of `steps:N`, of a file, or of a name in tests/data/runs."""
    if name.startswith("steps:"):
        yield from map(as_read, made_up(int(name.partition(":")[2])))
        return
    path = Path(name) if name.endswith(".jsonl") else STORIES / f"{name}.jsonl"
    for line in path.read_text().splitlines():
        yield json.loads(line)


def make_run(base: Path, name: str = "run-a", told: str | None = None, **info: Any) -> Path:
    """A run folder under `base`/runs; with `told` (a name in tests/data/runs) a dead one with those events."""
    path = base / "runs" / name
    path.mkdir(parents=True)
    content = {"version": 1, "name": name, "created": time.time(), "gpu": None, "recipe": RECIPE, **info}
    (path / "run.json").write_text(json.dumps(content))
    if told:
        (path / "events.jsonl").write_bytes((STORIES / f"{told}.jsonl").read_bytes())
        (path / "lock").touch()
    return path


def start(run: Path, story_name: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start a fake worker on a run folder as core.runs.spawn starts the real one, and wait until it holds the lock."""
    with (run / "worker.log").open("ab") as log:
        command = [sys.executable, __file__, str(run), story_name, *options]
        worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and worker.poll() is None:
        if (run / "lock").exists() and (run / "lock").stat().st_size:
            break
        time.sleep(0.01)
    return worker


def stand_in(*story: str) -> Callable[[Any, str], list[str]]:
    """What takes the place of core.runs.spawn._command, so that a fake worker tells this story (with its options)."""
    return lambda run, job: [sys.executable, __file__, str(run.path), *story]


def wait_until(true: Callable[[], object], patience_s: float = 60.0) -> None:
    """For what a worker does soon. Raises AssertionError if it does not."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Worker:
    """The writing side of a run folder."""

    def __init__(self, run: Path, silent: bool) -> None:
        self.run = run
        self.lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(self.lock, f'{{"pid":{os.getpid()}}}\n'.encode(), 0)
        self.events = os.open(run / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.seq = self.step = 0
        if not silent:
            threading.Thread(target=self._live, daemon=True).start()

    def write(self, event: dict[str, Any]) -> None:
        self.seq += 1
        self.step = event["data"].get("step", self.step)
        job = event.get("job", "train")
        line = {"v": 1, "seq": self.seq, "t": time.time(), "job": job, "type": event["type"], "data": event["data"]}
        os.write(self.events, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if event["type"] == "checkpoint":
            (self.run / "checkpoints" / f"checkpoint-{self.step}").mkdir(parents=True, exist_ok=True)
        print(f"{event['type']}: \x1b[32m{self.seq}\x1b[0m done\rstep {self.step}", flush=True)

    def stop(self) -> None:
        self.write(as_read(Checkpoint(step=self.step)))
        self.write(as_read(Finished(stopped=True, steps=self.step, total_steps=300)))

    def _live(self) -> None:
        while True:
            os.utime(self.lock)
            time.sleep(1)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("run", type=Path)
    options.add_argument("story")
    options.add_argument("--rate", type=float, default=20.0, help="events per second")
    options.add_argument("--then", choices=("end", "die", "hang"), default="end")
    options.add_argument("--silent", action="store_true", help="show no sign of life")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: (given.run / "stop").touch())
    worker = Worker(given.run, given.silent)
    for event in story(given.story):
        worker.write(event)
        time.sleep(1 / given.rate)
        if (given.run / "stop").exists() and event["type"] not in ("finished", "failed"):
            worker.stop()
            return
    if given.then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while given.then == "hang":
        time.sleep(1)


if __name__ == "__main__":
    main()
