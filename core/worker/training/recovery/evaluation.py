"""An evaluation that runs out of memory never ends a training: it takes fewer rows at once, or is left out."""

from typing import Any

import torch

from fitune.core.runs import EventLog, Recovered, Warned
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.training.recovery.passes import free
from fitune.core.worker.training.recovery.step_guard import is_out_of_memory


def guard_evaluation(trainer: Any, log: EventLog) -> None:
    """Make the trainer's evaluation try again with half the rows at once, down to one, and else go on without it."""
    inner = trainer.evaluate

    def evaluate(*known: Any, **named: Any) -> dict[str, float]:
        began_with, random_state = trainer.args.per_device_eval_batch_size, torch.get_rng_state()
        while True:
            try:
                metrics: dict[str, float] = inner(*known, **named)
                break
            except Exception as error:
                if not is_out_of_memory(error) or ranks() > 1:  # the other ranks go on with as many rows
                    raise
            free()
            torch.set_rng_state(random_state)  # the data loader took of it: the training goes on as without the failure
            rows, step = trainer.args.per_device_eval_batch_size, trainer.state.global_step
            if rows == 1:
                message = f"The evaluation at step {step} was left out: the memory ran out with a single row."
                log.write(Warned(kind="eval", message=message))
                trainer.control.should_evaluate = False  # as after an evaluation: else the epoch's end asks again
                return {}
            trainer.args.per_device_eval_batch_size = rows // 2
        if (rows := trainer.args.per_device_eval_batch_size) < began_with:
            message = f"The memory ran out in the evaluation: it takes {rows} rows at once from now on, and no longer "
            log.write(Recovered(kind="oom", message=f"{message}{began_with}.", step=trainer.state.global_step))
        return metrics

    trainer.evaluate = evaluate
