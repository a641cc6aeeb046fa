"""The interval of evaluations and of checkpoints, where a recipe leaves it open."""

import math

EVALS_PER_RUN, MIN_STEPS_BETWEEN = 10, 20
"""Evaluations, and checkpoints, in a run whose recipe sets no interval; in short ones fewer."""
SAVE_APART_S = 30.0
"""Seconds between two such checkpoints at least. One of an 8B took 2 s on an H200, while 21 steps of short rows took 5:
seven of them were a sixth of the run (bench/results/time_left_h200_2026-11-30.jsonl)."""
CHECKPOINT_S, CHECKPOINT_BYTES_PER_S = 0.2, 285e6
"""Seconds of a checkpoint beside its bytes, and bytes a second: 0.4 s for those of 60 MB, 1.1 for 250, 2.0 for 500 on
an H200 machine (bench/results/time_left_h200_2026-11-30.jsonl)."""


def checkpoint_s(size_bytes: int) -> float:
    """Seconds that a checkpoint of so many bytes takes, about."""
    return CHECKPOINT_S + size_bytes / CHECKPOINT_BYTES_PER_S


def steps_between(asked: int | None, total_steps: int) -> int:
    """Steps from one evaluation, or checkpoint, to the next. asked: train.eval_every or train.save_every.

    Left open, the last interval ends with the training or a little later: none comes just before the one at the end.
    """
    times = max(1, min(EVALS_PER_RUN, round(total_steps / MIN_STEPS_BETWEEN)))
    return asked or max(MIN_STEPS_BETWEEN, math.ceil(total_steps / times))


def most_in(times: int, seconds: float, apart_s: float = SAVE_APART_S) -> int:
    """`times`, or as often as a thing can be done in `seconds` that is done `apart_s` apart, and once at the end."""
    return min(times, 1 + int(seconds // apart_s))


def times_in(every: int, total_steps: int, after_step: int = 0) -> int:
    """How often a thing is done after `after_step` that is done each `every` steps and at the last one."""
    at_intervals = total_steps // every - after_step // every
    return max(0, at_intervals + (total_steps % every > 0 and after_step < total_steps))
