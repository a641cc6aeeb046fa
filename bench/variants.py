"""Every way to train, with each backend: does it learn, go on from a checkpoint, merge and pass the proof, and what it
takes.

usage: python bench/variants.py MODEL [--only NAME ...] [--backend unsloth trl] [--train-only] [--length N]
                                [--at-once N] [--limit S] [--within S] [--out FILE]
MODEL is a folder with a small model in 16 bits (bench/make_model.py makes one of real widths, with few layers). Each
case is a process of its own that trains and resumes by the worker's job, and merges in another; it is ended after
--limit seconds, and none goes on when --within seconds have passed in all. --train-only leaves out all but the first
training: peak, budget and pace come of it. Several at once share the card, but the steps that are timed are taken by
one at a time, so that its pace counts. What a case writes goes with it; all weights of a model with 0.5 B parameters
take 12 GB for a time, where TMPDIR says. Prints one JSON line a case, after one that names card and versions: what was
found until then, where a case fails. docs/variants.md has a table of the rows in bench/results.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench import vram
from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.machine import grows_in_place
from fitune.core.memory import Card, estimate, shapes
from fitune.core.recipe import Recipe
from fitune.core.recipe.kinds import READ_AS
from fitune.core.recipe.load import parse
from fitune.core.runs import EventData, EventLog, Run, Step, Tail

EXPERTS = "experts of a mixture"
"""The case for a model that is one."""
VARIANTS: dict[str, dict[str, Any]] = {
    "QLoRA": {},
    "LoRA in 16 bits": {"model.quant": "bf16"},
    "DoRA": {"lora.dora": True},
    "rsLoRA": {"lora.rslora": True},
    "LoRA+": {"lora.lr_ratio": 4.0},
    "LoRA-FA": {"train.optimizer": "lora_fa"},
    "LoftQ": {"lora.init": "loftq"},
    "PiSSA": {"lora.init": "pissa", "model.quant": "bf16"},
    "ranks by module": {"lora.rank_pattern": {"down_proj": 32, "layers.0.self_attn.q_proj": 4}},
    "two layers": {"lora.layers": [0, 1]},
    "embedding and head whole": {"lora.modules_to_save": ["embed_tokens", "lm_head"]},
    "all weights": {"train.weights": "all", "model.quant": "bf16"},
    "all weights, AdamW in 32 bits": {
        "train.weights": "all",
        "model.quant": "bf16",
        "train.optimizer": "adamw_torch_fused",
    },
    "all weights, paged": {"train.weights": "all", "model.quant": "bf16", "train.optimizer": "paged_adamw_8bit"},
    "all weights, Adafactor": {"train.weights": "all", "model.quant": "bf16", "train.optimizer": "adafactor"},
    "DPO": {"train.objective": "dpo", "train.lr": 1e-5},  # at 1e-3 its loss was 0 after two steps
    "ORPO": {"train.objective": "orpo"},
    "KTO": {"train.objective": "kto", "train.lr": 1e-5},
    EXPERTS: {"lora.target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
}
STEPS, HALF, ROWS = 8, 4, 40
UNTIMED = 2
"""Steps in which kernels are compiled and states appear."""
MERGE_LIMIT_S, TURN_LIMIT_S = 300, 30
LOCK = Path(tempfile.gettempdir()) / "fitune-variants.lock"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model", type=Path)
    options.add_argument("--only", nargs="*", default=[name for name in VARIANTS if name != EXPERTS])
    options.add_argument("--backend", nargs="*", default=["trl", "unsloth"])
    options.add_argument("--length", type=int, default=1024)
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--limit", type=float, default=600, help="seconds of a case")
    options.add_argument("--within", type=float, default=86400, help="seconds of all cases together")
    options.add_argument("--out", type=Path)
    options.add_argument("--train-only", action="store_true")
    options.add_argument("--here", action="store_true", help="the one case in this process")
    options.add_argument("--merge", action="store_true", help="merge a run, whose folder stands for that of a model")
    args = options.parse_args()
    if args.merge:
        merge(Run(args.model))
    elif args.here:
        for row in case(args.only[0], args.backend[0], args.model, args.length, args.train_only):
            print(json.dumps(row), flush=True)
    else:
        each_in_own_process(args)


def each_in_own_process(args: argparse.Namespace) -> None:
    """All cases, several at once; a line each as soon as it has ended."""
    vram.write(json.dumps({"about": vram.about(), "model": args.model.name, "length": args.length}) + "\n", args.out)
    cases = [(name, backend) for name in dict.fromkeys(args.only) for backend in args.backend]
    args.deadline = time.monotonic() + args.within
    with ThreadPoolExecutor(args.at_once) as pool:
        for job in as_completed(pool.submit(in_own_process, *each, args) for each in cases):
            vram.write(job.result(), args.out)


def in_own_process(name: str, backend: str, given: argparse.Namespace) -> str:
    """The line of a case; of one that failed, what was found before, and why."""
    command = [sys.executable, "-P", __file__, str(given.model), "--only", name, "--backend", backend]
    command += ["--length", str(given.length), "--here", *["--train-only"] * given.train_only]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:  # which goes also where the case is ended
        env = {**os.environ, "FITUNE_HOME": home, "UNSLOTH_COMPILE_LOCATION": f"{home}/unsloth"}
        code, out, told = vram.ended(command, max(0.0, min(given.limit, given.deadline - began)), env)
    lines = [line for line in out.splitlines() if line.startswith('{"variant"')]
    row: dict[str, Any] = json.loads(lines[-1]) if lines else {"variant": name, "backend": backend}
    return json.dumps({**row, **({"failed": told} if code else {}), "took_s": round(time.monotonic() - began)}) + "\n"


def case(name: str, backend: str, model: Path, length: int, train_only: bool) -> Iterator[dict[str, Any]]:
    """Train, go on from the checkpoint in the middle, merge, below FITUNE_HOME. What was found so far, after each; or
    the sentence that refuses it."""
    row: dict[str, Any] = {"variant": name, "backend": backend}
    try:
        run = runs.create(recipe_of(name, backend, model, length, runs.home()), runs.home())
        for found in trained_resumed_merged(run, train_only):
            row |= found
            yield row
    except UserError as error:
        yield row | {"refused": " ".join(str(error).split())}


def recipe_of(name: str, backend: str, model: Path, length: int, home: Path) -> Recipe:
    """The recipe of a case: rows of full length, two at once. Raises BadInput where its settings exclude each other."""
    rows, kind = home / "rows.jsonl", READ_AS.get(VARIANTS[name].get("train.objective", "sft"))
    rows.write_text("".join(json.dumps(row_of(kind, n, length)) + "\n" for n in range(ROWS)))
    tree: dict[str, Any] = {"model": {"id": str(model)}, "data": {"source": str(rows), "packing": False}}
    sets = {
        "data.eval_fraction": 0, "model.max_seq_length": length, "train.backend": backend, "train.max_steps": STEPS,
        "train.save_every": HALF, "train.micro_batch": 2, "train.grad_accum": 1, "train.lr": 1e-3,
        "train.scheduler": "constant", "train.checkpointing": "unsloth" if backend == "unsloth" else "on",
        "train.score": "off",
    }  # fmt: skip
    for key, value in {**sets, **VARIANTS[name]}.items():
        group, _, field = key.partition(".")
        tree.setdefault(group, {})[field] = value
    return parse(tree, name)


def row_of(kind: str | None, number: int, length: int) -> dict[str, Any]:
    """A row whose answers fill so many tokens, of the kind that the objective reads."""
    question = f"Again, {number}."
    good, bad = (
        words * (length // 8) for words in ("the quick brown fox jumps over the lazy dog ", "jump over it, fox ")
    )
    if kind == "preference":
        return {"prompt": question, "chosen": good, "rejected": bad}
    if kind == "rated":
        return {"prompt": question, "completion": bad if number % 2 else good, "label": number % 2 == 0}
    return {"question": question, "answer": good}


def trained_resumed_merged(run: Run, train_only: bool) -> Iterator[dict[str, Any]]:
    """The jobs of the worker, one after the other, the merge in another process; what was found by each."""
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.training import model_with_adapter

    recipe = run.recipe()
    model_with_adapter.prepare(recipe.train.backend, recipe.model)
    import torch

    from fitune.core.worker.training import train

    gpu = vram.own_gpu() if torch.cuda.is_available() else None
    memory = MemoryMeter(gpu.uuid if gpu else None, None)
    card = gpu and Card(gpu.total_bytes or 0, gpu.free_bytes or 0, gpu.compute_capability, grows_in_place())
    log = TimedLog(run.events, "train")
    train.run(run, log, memory)
    steps = steps_of(run)
    pace = round(median(step.tokens_per_s or 0.0 for step in steps if step.step > UNTIMED))
    peak = memory.read().peak_device or memory.read().peak_host
    budget = estimate(shapes.load(recipe.model.id), recipe, card or None)
    losses = {step.step: step.loss or 0.0 for step in steps}
    yield {
        "losses": list(losses.values()),
        "margins": [step.margin for step in steps if step.margin is not None],
        "first_loss": losses[1],
        "last_loss": losses[STEPS],
        "peak_bytes": peak,
        "budget_bytes": budget.total_bytes,
        "low_bytes": budget.low_bytes,
        "high_bytes": budget.high_bytes,
        **({"tokens_per_s": pace} if log.alone else {}),
    }
    if train_only:
        return
    shutil.rmtree(run.checkpoints / f"checkpoint-{STEPS}")
    train.run(run, EventLog(run.events, "train"), memory)
    later = {step.step: step.loss or 0.0 for step in steps_of(run)}
    yield {"resume_gap": max(abs(losses[n] - later[n]) for n in range(HALF + 1, STEPS + 1))}
    shutil.rmtree(run.checkpoints)
    # Not in a process that has imported Unsloth, which changes what a merged model is loaded with.
    command = [sys.executable, "-P", __file__, str(run.path), "--merge"]
    code, _, told = vram.ended(command, MERGE_LIMIT_S)
    if code:
        raise RuntimeError(f"merge: {told}")
    proof = getattr(run.state().end, "proof", None) or {}
    yield {"proof": bool(proof.get("passed"))}


def merge(run: Run) -> None:
    """The worker's job that merges a run, in this process."""
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.training import model_with_adapter

    model_with_adapter.prepare("trl")
    from fitune.core.worker.merging import merge as job

    job.run(run, EventLog(run.events, "merge"), MemoryMeter(None, None))


def steps_of(run: Run) -> list[Step]:
    """The newest word on each step."""
    events = (event.data for event in Tail(run.events).catch_up())
    return list({event.step: event for event in events if isinstance(event, Step)}.values())


class TimedLog(EventLog):
    """The log of a training that takes its timed steps while no other does, if its turn comes in time."""

    alone = False

    def write(self, data: EventData) -> None:
        """Append one event; after the last step that is not timed, wait for the turn, and give it up after the last."""
        super().write(data)
        if isinstance(data, Step) and data.step == UNTIMED:
            self.turn = LOCK.open("w")
            self.alone = taken(self.turn)
        elif isinstance(data, Step) and data.step == STEPS:
            self.turn.close()


def taken(turn: IO[str]) -> bool:
    """Wait for the turn. False where another case keeps it for so long that it must have stopped."""
    deadline = time.monotonic() + TURN_LIMIT_S
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    main()
