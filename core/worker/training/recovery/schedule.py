"""The learning rate of a training that was resumed: by its recipe, whatever rate its checkpoint was written with."""

from typing import Any

from torch.optim.lr_scheduler import LambdaLR


def set_rate(optimizer: Any, scheduler: Any, lr: float, step: int) -> None:
    """Set the highest rate to `lr`; the schedule goes on at its step.

    step: the steps done. Where the checkpoint has lost its schedule, that one would begin anew.
    """
    schedule = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
    if not isinstance(schedule, LambdaLR):
        return
    if schedule.last_epoch == 0 < step:
        schedule.last_epoch = step
    schedule.base_lrs = [lr] * len(schedule.base_lrs)
    for group, share in zip(optimizer.param_groups, schedule.lr_lambdas, strict=True):
        group["initial_lr"] = lr
        group["lr"] = lr * share(schedule.last_epoch)
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
