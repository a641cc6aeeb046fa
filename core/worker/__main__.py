"""`python -m fitune.core.worker RUN JOB`: take the lock of a run, do one job, and write its last event.

With a third argument, the pid of the worker that started it, it is another rank of a training on several cards.
"""

import faulthandler
import importlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from fitune.core.diagnose import diagnose, redact
from fitune.core.errors import UserError
from fitune.core.runs import EventLog, Failed, Run, keep_touching, note_end, note_events, take_lock
from fitune.core.worker.cards import rank
from fitune.core.worker.cards.processes import OtherRanks, be_rank
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.training import model_with_adapter
from fitune.core.worker.training.recovery.leaving import Restart, restart, terminated

JOBS = {
    "train": "fitune.core.worker.training.train",
    "prepare": "fitune.core.worker.rows.prepare",
    "tune-lr": "fitune.core.worker.scoring.race",
    "score": "fitune.core.worker.scoring.job",
    "merge": "fitune.core.worker.merging.merge",
    "export": "fitune.core.worker.gguf.export",
    "push": "fitune.core.worker.hub.push",
}

GONE = Failed(
    kind="killed",
    message="The run's folder was moved or deleted while the job was at work, so the job ended itself.",
    hint="If it was moved, fitune resume goes on where the folder is now, from the last checkpoint.",
)
"""What is told where the folder is no longer at its path, whatever fails first for want of it."""


def main() -> int:
    """Do the job named on the command line. Exit status: 0 done or stopped, 1 failed, 2 another worker has the run."""
    os.umask(0o077)
    faulthandler.enable()  # a crash in native code is then told in worker.log, where core/runs/post_mortem.py finds it
    run, job = Run(Path(sys.argv[1])), sys.argv[2]
    if len(sys.argv) > 3:
        be_rank(int(sys.argv[3]), job, lambda log: run_job(run, job, log))
    rank.forget()
    lock = take_lock(run.lock, job)
    if lock is None:
        print(f"{run.name} has a worker already", file=sys.stderr)
        return 2
    log = EventLog(run.events, job)
    note_events(lock, run.lock, log.seq)
    # A closed terminal changes nothing; SIGTERM means: stop with a checkpoint.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _stop_soon(run))
    threading.Thread(target=keep_touching, args=(lock, run.lock, lambda: _end_unseen(log)), daemon=True).start()
    try:
        status = run_job(run, job, log)
    except Restart:
        restart(run, job, lock)
    note_end(lock, run.lock)
    return status


def _stop_soon(run: Run) -> None:
    """Stop with a checkpoint, of the last step that is done: who sends SIGTERM kills soon."""
    terminated.set()
    run.request_stop()


def _end_unseen(log: EventLog) -> None:
    """End this process, whose folder was moved or deleted: it could be neither seen nor stopped, and holds the card.

    The open log follows a folder that was moved, so that the end is told there.
    """
    log.write(GONE)
    os._exit(1)


def run_job(run: Run, job: str, log: EventLog) -> int:
    """Do one job in this process, and log `failed` if it raises. Exit status: 0 done or stopped, 1 failed.

    Raises Restart where the job is to be started anew, with other settings.
    """
    others: OtherRanks | None = None
    try:
        info = run.info()
        card = info.cards[rank.rank()] if info.cards else None
        _set_environment(run, card.uuid if card else None)
        if job == "train" and info.ranks > 1 and rank.rank() == 0:
            others = OtherRanks(run, job, info.ranks, log)
        bounds = (info.budget.total_bytes, info.budget.high_bytes) if info.budget else (None, None)
        memory = MemoryMeter(card.uuid if card else None, *bounds)
        recipe, trains = run.recipe(), job in ("train", "tune-lr")
        if rank.splits(recipe):
            os.environ.update(rank.SPLIT)
        # Before the job's own imports: unsloth must come before trl, transformers and peft. Only trainings want it.
        model_with_adapter.prepare(recipe.train.backend if trains else "trl", recipe.model)
        rank.join()
        importlib.import_module(JOBS[job]).run(run, log, memory)
        if others:
            others.wait_for_end()
        return 0
    except Restart:
        raise
    except BaseException as error:
        print(redact(_told(error)), file=sys.stderr, flush=True)
        failure = diagnose(error, job)
        failed = Failed(kind=failure.kind, message=failure.message, hint=failure.hint) if run.path.exists() else GONE
        if others:
            others.fail(failed)
        log.write(failed)
        return 1


def _told(error: BaseException) -> str:
    """What worker.log says of an error: where the user can mend it, its sentences and what they were made of; else the
    traceback."""
    if not isinstance(error, UserError):
        return traceback.format_exc()
    cause = error.__cause__
    return f"{error}\n{type(cause).__name__}: {cause}" if cause else str(error)


def _set_environment(run: Run, gpu_uuid: str | None) -> None:
    if gpu_uuid:  # no other card: what a library puts on the first one would take its memory
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu_uuid
    home = run.path.parent.parent
    for name, value in {
        # What was compiled is kept, with the choices of kernels: only the first training of a model compiles it. So
        # Unsloth needs no copy of its own, which it writes at the end of each training.
        "TORCHINDUCTOR_CACHE_DIR": home / "cache" / "inductor",
        "TRITON_CACHE_DIR": home / "cache" / "triton",
        "TRITON_CACHE_AUTOTUNING": "1",
        "UNSLOTH_MEGA_CACHE": "0",
        # Else unsloth, wandb and mlflow write wherever the user stands, and TensorBoard's files go with the trainer's.
        "UNSLOTH_COMPILE_LOCATION": home / "cache" / "unsloth",
        "TENSORBOARD_LOGGING_DIR": run.path / "tensorboard",
        "WANDB_DIR": run.path,
        "WANDB_PROJECT": "fitune",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "MLFLOW_EXPERIMENT_NAME": "fitune",
    }.items():
        os.environ.setdefault(name, str(value))


if __name__ == "__main__":
    sys.exit(main())
