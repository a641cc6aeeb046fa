"""Trainings in several processes for tests: forked from one that has imported torch, which takes half a minute."""

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fitune.core.runs import EventLog, Run

LIMIT_S = 240.0
"""Seconds for one training of the tiny model, on a busy machine."""


def train_together(run: Run, ranks: int) -> list[list[int]]:
    """The train job in so many processes. Returns the rows that they trained on, as token ids without padding."""
    seen = [run.path / f"seen-{rank}.jsonl" for rank in range(ranks)]
    for path in seen:
        path.unlink(missing_ok=True)
    together(ranks, _train, run.path)
    return [json.loads(line) for path in seen for line in (path.read_text().splitlines() if path.exists() else ())]


def together(ranks: int, work: Callable[..., None], *values: Any) -> None:
    """Do a piece of work as each rank, in a process each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fitune.core.worker.training.train"])
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port = made.getsockname()[1]
    processes = [context.Process(target=_as_rank, args=(rank, ranks, port, work, values)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT_S)
    ended = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert ended == [0] * ranks, ended


def _as_rank(rank: int, ranks: int, port: int, work: Callable[..., None], values: tuple[Any, ...]) -> None:
    from fitune.core.worker.cards import rank as cards

    if ranks > 1:
        os.environ.update(cards.environment(rank, ranks, port))
        cards.join()
    work(*values)


def _train(folder: Path) -> None:
    from fitune.core.worker.cards.rank import rank
    from fitune.core.worker.memory_use import MemoryMeter
    from fitune.core.worker.training import record, samples, train, trainer

    run = Run(folder)
    samples.QUESTIONS = 0
    record.record = lambda *_: None  # which counts the model's sizes for ten seconds
    log = run.events if rank() == 0 else folder / "events-of-another.jsonl"
    inner = trainer.CpuTrainer.compute_loss

    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
        model, inputs = args[:2]
        if model.training:
            _note(folder / f"seen-{rank()}.jsonl", inputs)
        return inner(self, *args, **kwargs)

    trainer.CpuTrainer.compute_loss = compute_loss  # type: ignore[method-assign]
    train.run(run, EventLog(log, "train"), MemoryMeter(None, None))


def _note(path: Path, inputs: dict[str, Any]) -> None:
    """Append the rows of a batch of which something is learned."""
    with path.open("a") as file:
        for ids, mask, labels in zip(inputs["input_ids"], inputs["attention_mask"], inputs["labels"], strict=True):
            if (labels >= 0).any():
                file.write(json.dumps(ids[mask.bool()].tolist()) + "\n")
