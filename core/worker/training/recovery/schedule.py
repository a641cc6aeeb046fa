"""The learning rate of a training that was resumed: by its recipe, whatever rate its checkpoint was written with."""

from typing import Any

from torch.optim.lr_scheduler import LambdaLR


def set_rate(optimizer: Any, scheduler: Any, lr: float, step: int) -> None:
    """Set the highest rate to `lr`; the schedule goes on at its step. Of several rates it is the first, and the others
    keep their ratio to it.

    step: the steps done. Where the checkpoint has lost its schedule, that one would begin anew.
    """
    schedule = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
    if not isinstance(schedule, LambdaLR):
        return
    if schedule.last_epoch == 0 < step:
        schedule.last_epoch = step
    first = schedule.base_lrs[0]
    schedule.base_lrs = [lr * rate / first for rate in schedule.base_lrs]
    for group, rate, share in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
        group["initial_lr"] = rate
        group["lr"] = rate * share(schedule.last_epoch)
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
