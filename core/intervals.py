"""The interval of evaluations and of checkpoints, where a recipe leaves it open."""

import math

EVALS_PER_RUN, MIN_STEPS_BETWEEN = 10, 20
"""Evaluations, and checkpoints, in a run whose recipe sets no interval; in short ones fewer."""


def steps_between(asked: int | None, total_steps: int) -> int:
    """Steps from one evaluation, or checkpoint, to the next. asked: train.eval_every or train.save_every.

    Left open, the last interval ends with the training or a little later: none comes just before the one at the end.
    """
    times = max(1, min(EVALS_PER_RUN, round(total_steps / MIN_STEPS_BETWEEN)))
    return asked or max(MIN_STEPS_BETWEEN, math.ceil(total_steps / times))


def times_in(every: int, total_steps: int, after_step: int = 0) -> int:
    """How often a thing is done after `after_step` that is done each `every` steps and at the last one."""
    at_intervals = total_steps // every - after_step // every
    return max(0, at_intervals + (total_steps % every > 0 and after_step < total_steps))
