"""Trainings under fire, with real processes: what is told, what is lost (only since the last checkpoint), and the end.

    uv run pytest -m extra tests/faults -n 0

Each fault is one test, so pytest prints how many passed.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.house import STEPS, House, losses

pytestmark = pytest.mark.extra


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in a training, and what has to come of it."""

    name: str
    inject: str
    status: str
    """Of the run afterwards."""
    says: tuple[str, ...] = ()
    """What `fitune train` says, in parts."""
    exit_status: int = 1
    resumes: bool = True
    """True if `fitune resume` then comes to the same end as an undisturbed training."""
    same: bool = True
    """True if its losses are those of an undisturbed training."""
    settings: dict[str, Any] = field(default_factory=dict)
    set: tuple[str, ...] = ()
    """What `fitune resume` changes."""
    tolerance: float = 1e-6
    """Of its losses: smaller passes, or none in an evaluation, leave other random numbers for the dropout."""


FAULTS = [
    *(
        Fault(f"kill -9 in phase {phase}", f"at_phase({phase!r}, send(KILL))", "killed", ("Killed", "fitune resume"))
        for phase in ("load", "data", "prepare", "train")
    ),
    Fault("kill -9 at its first event", "at_event(lambda data: True, send(KILL))", "killed", ("while starting",)),
    Fault("kill -9 at step 1", "at_step(1, send(KILL))", "killed", ("Killed at step 1",)),
    Fault("kill -9 at step 5", "at_step(5, send(KILL))", "killed", ("Killed at step 5", "fitune resume")),
    Fault("kill -9 while the adapter is saved", "at_phase('save', send(KILL))", "killed", ("Killed while",)),
    Fault(
        "kill -9 within a checkpoint",
        "before('transformers', 'Trainer._save_rng_state', lambda *_: send(KILL)())",
        "killed",
        ("Killed at step",),
    ),
    Fault(
        "kill -9 before a checkpoint is named",
        "before('fitune.core.worker.training.saving.checkpoints', 'write_manifest', lambda *_: send(KILL)())",
        "killed",
        ("Killed at step",),
    ),
    Fault("SIGSEGV at step 5", "at_step(5, send(SEGV))", "killed", ("Fatal Python error: Segmentation fault",)),
    Fault("SIGTERM at step 4", "at_step(4, send(TERM))", "stopped", ("Stopped as asked",), exit_status=130),
    Fault("SIGTERM while it loads", "at_phase('load', send(TERM))", "stopped", ("before its first step",), 130),
    Fault(
        "SIGTERM within a slow step",
        "slow_passes(1.0); at_step(3, send(TERM))",
        "stopped",
        ("Stopped as asked at step 3",),
        exit_status=130,
        settings={"train": {"grad_accum": 2}},
    ),
    Fault("SIGHUP and SIGINT", "at_step(2, send(1)); at_step(3, send(2))", "finished", ("Finished",), 0, False),
    Fault(
        "memory runs out once", "no_memory(1, steps=range(5, 6))", "finished", ("recovered", "step 5"), 0, False,
        tolerance=0.05,
    ),
    Fault(
        "memory never holds two rows", "no_memory(1)", "finished", ("recovered", "with the same gradient"), 0, False,
        tolerance=0.05,
    ),
    Fault(
        "memory holds no row for a while",
        "no_memory(0, steps=range(5, 6))",
        "failed",
        ("starts anew", "out of memory", "fitune fit"),
        settings={"train": {"checkpointing": "off"}},
        tolerance=0.05,
    ),
    Fault(
        "an evaluation runs out of memory once", "no_memory(0, False, times=1)", "finished", ("in the evaluation",), 0,
        False,
    ),
    Fault(
        "no evaluation fits in memory", "no_memory(0, False)", "finished", ("was left out",), 0, False, tolerance=0.05
    ),
    Fault(
        "the host's memory runs out",
        "at_step(5, lambda: (_ for _ in ()).throw(MemoryError('x')))",
        "failed",
        ("RAM is full",),
    ),
    Fault(
        "NaN in one step", "loss_times(float('nan'), range(5, 6))", "finished", ("Step 5 was left out", "What is"), 0,
        False, False,
    ),
    Fault(
        "NaN for good", "loss_times(float('nan'), range(4, 99))", "failed",
        ("half the rate", "halved 3 times"), 1, True, False, {"train": {"max_steps": 12, "save_every": 2}},
        ("train.lr=1e-3",),
    ),
    Fault(
        "a spike", "loss_times(50.0, range(22, 23))", "finished", ("Step 22 was left out", "What is"), 0, False, False,
        {"train": {"max_steps": 24}},
    ),
    Fault("loss exactly 0", "loss_times(0.0, range(1, 99))", "failed", ("exactly 0",), 1, True, False),
    Fault("weights become NaN", "poison(4)", "failed", ("half the rate",), 1, True, False),
    Fault("a fault in a library", "at_step(5, fail)", "failed", ("a fault in the software", "fitune resume")),
    Fault(
        "a CUDA error",
        "at_step(5, lambda: (_ for _ in ()).throw(RuntimeError('CUDA error: an illegal memory access')))",
        "failed",
        ("fitune doctor",),
    ),
    Fault(
        "disk full at a checkpoint",
        "full_disk('transformers', 'Trainer._save_optimizer_and_scheduler', lambda t, f: t.state.global_step == 3)",
        "finished",
        ("disk is full", "checkpoints are written"),
        0,
        False,
    ),
    Fault(
        "disk full at all checkpoints",
        "full_disk('transformers', 'Trainer._save_optimizer_and_scheduler')",
        "finished",
        ("disk is full",),
        0,
        False,
    ),
    Fault(
        "disk full when the adapter is saved",
        "full_disk('fitune.core.worker.training.saving.adapter', 'save')",
        "failed",
        ("disk full", "fitune resume"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(house: House, undisturbed: dict[int, float | None], fault: Fault) -> None:
    run, said = house.train("run", fault.inject, **fault.settings)
    story = said.all + "\n--- log\n" + run.log.read_text()[-3000:]
    assert "Traceback" not in said.all, story
    assert said.status == fault.exit_status, story
    for part in fault.says:
        assert part in said.err, story
    assert house.described("run")["status"] == fault.status, story
    assert run.holder_pid() is None
    if fault.resumes:
        kept = run.newest_checkpoint()
        again = house.fitune("resume", "run", *(f"--set={each}" for each in fault.set))
        assert again.status == 0, again.all + run.log.read_text()[-3000:]
        assert house.described("run")["status"] == "finished"
        assert kept is None or f"Going on from {kept.name}" in again.err
    if fault.same:
        assert losses(run) == pytest.approx(undisturbed, rel=fault.tolerance)
    assert max(losses(run)) >= STEPS
    assert run.has_adapter()
