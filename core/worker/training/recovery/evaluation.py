"""An evaluation that runs out of memory never ends a training: it is tried once more, or left out."""

from typing import Any

import torch

from fitune.core.runs import EventLog, Recovered, Warned
from fitune.core.worker.cards.rank import ranks
from fitune.core.worker.training.recovery.passes import free
from fitune.core.worker.training.recovery.step_guard import is_out_of_memory


def guard_evaluation(trainer: Any, log: EventLog) -> None:
    """Make the trainer's evaluation, which takes one row at once, try again with freed memory, and else go on."""
    inner = trainer.evaluate

    def evaluate(*known: Any, **named: Any) -> dict[str, float]:
        random_state, step = torch.get_rng_state(), trainer.state.global_step
        for is_second in (False, True):
            try:
                metrics: dict[str, float] = inner(*known, **named)
            except Exception as error:
                if not is_out_of_memory(error) or ranks() > 1:  # the other ranks go on
                    raise
            else:
                if is_second:
                    message = f"The memory ran out in the evaluation at step {step}: it was freed, and tried again."
                    log.write(Recovered(kind="oom", message=message, step=step))
                return metrics
            free()
            torch.set_rng_state(random_state)  # the data loader took of it: the training goes on as without the failure
        message = f"The evaluation at step {step} was left out: the memory ran out with a single row."
        log.write(Warned(kind="eval", message=message))
        trainer.control.should_evaluate = False  # as after an evaluation: else the epoch's end asks again
        return {}

    trainer.evaluate = evaluate
