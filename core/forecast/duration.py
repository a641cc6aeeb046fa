"""The time of a whole training, from the command to the finished adapter: start-up, steps, and the pauses between them.

Measured on one H200 with 16 cores, warm files, torch 2.11.0, unsloth 2026.10.7 and trl 1.15.0, 2026-11-29:
bench/results/fast_h200_2026-11-29.jsonl and pace_h200_2026-11-29.jsonl.
"""

from dataclasses import dataclass

from fitune.core.forecast.pace import HOST_S, Pace, recomputed_share
from fitune.core.intervals import checkpoint_s, most_in, steps_between, times_in
from fitune.core.memory import FAST_UNSLOTH, Budget, Shape
from fitune.core.recipe import Recipe
from fitune.core.tokens import Workload

IMPORT_S = {"unsloth": 24.5, "trl": 17.5}
"""Seconds from the command until the worker has its libraries: 24.1 to 25.3 with unsloth in five runs."""
LOAD_S, LOAD_BYTES_PER_S = 3.0, 4e9
"""Seconds to make a model with its adapter, and bytes of its files a second: 8B models of 6 and 16 GB took 3.5 to 4.6
and 6.8 to 7.2 s, a 14B of 10 GB 5.4 s, models of 135M and 1B 2.9 to 3.5 s."""
ROW_TOKEN_S = 2e-6
"""Seconds to read, render and pack a token: rows of 264,000 tokens took 0.5 s, of 900,000 tokens 1.9 s."""
FIRST_STEP_S = {"unsloth": 3.0, "trl": 0.5}
"""Seconds of the first step that later ones don't take: kernels are compiled. 2.4 to 3.1 s with unsloth's cache, and
7 s more in the first training with it."""
COMPILED_STEP_S = 45.0
"""The same of a model for which Unsloth has no layers of its own and compiles those of transformers: 28 s of a
Ministral 3 with 8 layers, 36 of a gpt-oss with 4, 43 of an LFM2, 62 of a Gemma 3 1B, 77 of a Granite 4 H with 8. Later
trainings of the model find the code."""
ANSWER_TOKENS, QUESTIONS, MOST_QUESTIONS_S = 96, 3, 10.0
"""As in core/worker/training/samples.py: questions before the first step and after the last."""
FORWARD_SHARE = 0.45
"""The share of a forward pass in the time that the host takes for a micro-batch whose activations are kept: one of two
passes, of which the other starts more kernels. An assumption."""
LAYER_TOKEN_S = 0.0004
"""Seconds of a layer for a token of an answer: three answers of an 8B took 3.7 s."""
SAVE_S = 1.0
"""Seconds to save the adapter and end."""
QUICK, SLOW = 0.75, 2.0
"""Bounds of the start-up: libraries and models come from disks of any speed. An assumption."""
AGREED = 0.25
"""The same where earlier runs on the machine tell it."""


@dataclass(frozen=True, slots=True)
class Duration:
    """The time of a whole training in seconds, without the download of its model."""

    low_s: float
    """The least that is likely."""
    total_s: float
    """The expected time, from the command to the adapter: the sum of the next three."""
    high_s: float
    """The most that is likely."""
    start_s: float
    """Until the first step: libraries, model, rows, first questions, first kernels."""
    steps_s: float
    """All optimizer steps."""
    pauses_s: float
    """Evaluations, checkpoints, last questions, saving."""


@dataclass(frozen=True, slots=True)
class Amount:
    """The work of a whole training."""

    steps: int
    tokens: float
    """Tokens that go through the model in all steps, padding included."""
    row_tokens: float
    """Tokens of all rows that are read, those that are held out too."""
    look_rows: float
    """Held-out rows that an evaluation looks at; 0 if there is none."""
    look_tokens: float
    """Their tokens."""


def amount_of(work: Workload) -> Amount:
    """The work of a training whose rows were measured."""
    return Amount(work.packing.steps, work.tokens, work.source_tokens, work.look_rows, work.look_tokens)


def estimate_duration(
    shape: Shape, recipe: Recipe, budget: Budget, pace: Pace, amount: Amount, known_start_s: float | None = None
) -> Duration | None:
    """The time of a training at a pace; None where there is no pace.

    known_start_s: seconds until the first step that runs of like size took on this machine; None takes figures of
    another one.
    """
    if not pace.tokens_per_s or not pace.low_tokens_per_s or not pace.high_tokens_per_s:
        return None
    look_s = _look_s(shape, recipe, pace.tokens_per_s, amount)
    questions_s = _questions_s(shape) if amount.look_rows else 0.0
    start_s = known_start_s or _start_s(shape, recipe, budget, amount) + questions_s + look_s
    quick, slow = (1 - AGREED, 1 + AGREED) if known_start_s else (QUICK, SLOW)
    steps_s = amount.tokens / pace.tokens_per_s
    evals_s = look_s * times_in(steps_between(recipe.train.eval_every, amount.steps), amount.steps)
    rest_s = steps_s + evals_s
    saves_s = checkpoint_s(budget.checkpoint_bytes) * _checkpoints(recipe, amount, rest_s)
    pauses_s = questions_s + SAVE_S + saves_s
    return Duration(
        low_s=quick * start_s + rest_s * pace.tokens_per_s / pace.high_tokens_per_s + pauses_s,
        total_s=start_s + rest_s + pauses_s,
        high_s=slow * start_s + rest_s * pace.tokens_per_s / pace.low_tokens_per_s + pauses_s,
        start_s=start_s,
        steps_s=steps_s,
        pauses_s=evals_s + pauses_s,
    )


def _start_s(shape: Shape, recipe: Recipe, budget: Budget, amount: Amount) -> float:
    """Seconds until the end of the first step, beyond those of a later one, without questions and the first look."""
    backend = "trl" if recipe.train.backend == "trl" else "unsloth"
    load_s = LOAD_S + budget.download_bytes / LOAD_BYTES_PER_S
    compiles = backend == "unsloth" and shape.model_type not in FAST_UNSLOTH
    first_step_s = COMPILED_STEP_S if compiles else FIRST_STEP_S[backend]
    return IMPORT_S[backend] + load_s + ROW_TOKEN_S * amount.row_tokens + first_step_s


def _questions_s(shape: Shape) -> float:
    return min(MOST_QUESTIONS_S, QUESTIONS * ANSWER_TOKENS * len(shape.layers) * LAYER_TOKEN_S)


def _look_s(shape: Shape, recipe: Recipe, tokens_per_s: float, amount: Amount) -> float:
    """Seconds of an evaluation: a forward pass for each row, one of two or three passes of a step. The host starts its
    kernels again for each row."""
    backend = "trl" if recipe.train.backend == "trl" else "unsloth"
    row_s = FORWARD_SHARE * HOST_S[backend, "kept"] * len(shape.layers)
    card_s = amount.look_tokens / tokens_per_s / (2 + recomputed_share(shape, recipe))
    return max(row_s * amount.look_rows, card_s)


def _checkpoints(recipe: Recipe, amount: Amount, seconds: float) -> int:
    """The checkpoints of so many seconds of steps and evaluations."""
    times = times_in(steps_between(recipe.train.save_every, amount.steps), amount.steps)
    return times if recipe.train.save_every else most_in(times, seconds)
