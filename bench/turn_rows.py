"""What is measured of a training of bench/turns.py: from the events of its run, or from the probe of bench/peers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.time_left import numbers_of, replay
from bench.turn_cases import Case
from fitune.core.runs import Eval, Event, Memory, Run, Step, Tail

WARM_STEPS, WARM_S = 5, 10.0
"""What comes after the first step before a steady pace counts, as in bench/peers/probe."""
Row = dict[str, Any]


@dataclass(slots=True)
class Started:
    """A training whose command was given."""

    case: Case
    folder: Path
    process: "subprocess.Popen[bytes]"
    began: float

    def is_ready(self) -> bool:
        return self.file("ready").exists()

    def file(self, ending: str) -> Path:
        return self.folder / f"gate.{ending}"

    def waited_s(self) -> float:
        """Seconds at the gate."""
        with suppress(OSError):
            return self.file("go").stat().st_mtime - self.file("ready").stat().st_mtime
        return 0.0

    def run(self) -> Run | None:
        """The run of fitune, once there is one."""
        return next((Run(path) for path in (self.folder / "home" / "runs").glob("*") if path.is_dir()), None)

    def adapter(self) -> Path:
        """The folder of the adapter, by fitune or by a script."""
        run = self.run()
        return run.adapter if run else self.folder / "adapter"

    def kill(self) -> None:
        """End all processes of the training."""
        run = self.run()
        for pid in (self.process.pid, run.holder_pid() if run else None):
            with suppress(ProcessLookupError):
                if pid:
                    os.killpg(pid, signal.SIGKILL)
        self.process.wait()


def events_of(started: Started) -> list[Event]:
    """What fitune wrote of its run so far."""
    run = started.run()
    return list(Tail(run.events).read()) if run and run.events.exists() else []


def steady_steps(events: Sequence[Event]) -> list[tuple[float, Step]]:
    """The steps after the first ones, each with the time of its end."""
    steps = [(event.t, event.data) for event in events if isinstance(event.data, Step)]
    return [(t, step) for t, step in steps[WARM_STEPS:] if t > steps[0][0] + WARM_S]


def last_words(started: Started) -> str:
    """The end of what a training printed."""
    run = started.run()
    logs = [started.folder / "log", *([run.log] if run else [])]
    return " | ".join(log.read_text(errors="replace")[-500:] for log in logs if log.exists())


def row_by_hand(started: Started) -> Row:
    """What the probe wrote of a script."""
    path = started.folder / "probe.json"
    found: Row = json.loads(path.read_text()) if path.exists() else {}
    if "first_step_s" in found:
        found["first_step_s"] = round(found["first_step_s"] - started.waited_s(), 1)
    return found


def row_of_fitune(started: Started, keep: Path | None) -> Row:
    """What the events of a run say, and what was said before it began."""
    run, events = started.run(), events_of(started)
    steps = [(event.t, event.data) for event in events if isinstance(event.data, Step)]
    said = [line for line in (started.folder / "log").read_text(errors="replace").splitlines()
            if line.startswith(("plan:", "time:", "memory:"))]  # fmt: skip
    found: Row = {"said": said}
    if run is None or not steps:
        return found
    train = run.recipe().train
    found["plan"] = {name: getattr(train, name) for name in (
        "micro_batch", "grad_accum", "micro_tokens", "checkpointing", "checkpoint_skip_layers", "optimizer", "backend",
        "lr")} | {"packing": run.recipe().data.packing, "quant": run.recipe().model.quant}  # fmt: skip
    found["first_step_s"] = round(steps[0][0] - started.began - started.waited_s(), 1)
    found |= pace_of(steady_steps(events)) | {"steps": len(steps), "loss": [steps[0][1].loss, steps[-1][1].loss]}
    found["eval_losses"] = [event.data.loss for event in events if isinstance(event.data, Eval)]
    memory = [event.data for event in events if isinstance(event.data, Memory)]
    if memory:
        names = ("peak_device", "peak_reserved", "peak_allocated", "predicted", "predicted_high")
        found |= {name: getattr(memory[-1], name) for name in names}
    if replayed := replay(started.case.name, events):
        found["after_20_steps"] = {"told_s": replayed.told_s, "true_s": replayed.true_s, "error": replayed.error}
    if keep:
        raw = numbers_of([json.loads(line) for line in run.events.read_text().splitlines()])
        line = {"run": started.case.name, "events": [each for each in raw if each["job"] == "train"]}
        with keep.open("a") as kept:
            kept.write(json.dumps(line, separators=(",", ":")) + "\n")
    return found


def pace_of(steps: Sequence[tuple[float, Step]]) -> Row:
    """Tokens of the data a second between two steps."""
    if len(steps) < 2:
        return {}
    (began, first), (ended, last) = steps[0], steps[-1]
    tokens = (last.seen_tokens or 0) - (first.seen_tokens or 0)
    return {"useful_tokens_per_s": round(tokens / (ended - began)), "step_s": (ended - began) / (len(steps) - 1)}
