"""Puts the guards on a trainer: for its memory, its gradients, its evaluations and its checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fitune.core.recipe import Recipe
from fitune.core.runs import EventLog, Run
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.memory_use import MemoryMeter
from fitune.core.worker.training.recovery.bad_steps import BadSteps
from fitune.core.worker.training.recovery.cooling import Cooling
from fitune.core.worker.training.recovery.evaluation import guard_evaluation
from fitune.core.worker.training.recovery.remedies import restart_with_less
from fitune.core.worker.training.recovery.step_guard import StepGuard, is_out_of_memory
from fitune.core.worker.training.saving.checkpoints import CheckpointWriter
from fitune.core.worker.training.saving.copies import Copies


def guarded(
    trainer: Any, run: Run, log: EventLog, tokenizer: Any, memory: MemoryMeter, copies: Copies | None
) -> StepGuard:
    """Guard the steps, evaluations and checkpoints of a trainer, and the heat of its card."""
    guard = StepGuard(trainer, log)
    trainer.add_callback(BadSteps(trainer, guard, run, log, tokenizer))
    recipe = run.recipe()
    if recipe.run.pause_above_c is not None:
        trainer.add_callback(Cooling(run, log, memory, recipe.run.pause_above_c))
    guard_evaluation(trainer, log)
    writer, write = CheckpointWriter(run, log, recipe.train.keep_checkpoints, copies), trainer._save_checkpoint

    def save(*known: Any, **named: Any) -> None:
        part = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"
        writer.save(lambda: write(*known, **named), part)

    trainer._save_checkpoint = save
    return guard


def save_now(trainer: Any) -> None:
    """Write a checkpoint within a step: of the step before, since its weights have not changed."""
    if trainer.state.global_step:
        if hasattr(trainer.optimizer, "eval"):  # schedule_free_adamw saves other weights than it trains
            trainer.optimizer.eval()
        trainer._save_checkpoint(trainer.model, None)


@contextmanager
def starting_anew_with_less(run: Run, recipe: Recipe, log: EventLog, guard: StepGuard | None = None) -> Iterator[None]:
    """Turn the end of the card's memory into Restart with the next remedy, or into KnownFailure if none is left.

    guard: of the steps, once there are any: the last one is saved then.
    """
    try:
        yield
    except Exception as error:
        if guard and is_out_of_memory(error) and ranks() == 1:  # the other ranks are amid a step
            save_now(guard.trainer)
        restart_with_less(error, run, recipe, log, guard.fits_tokens if guard else None)
        raise
