"""The learning rate of `train.lr = "auto"`: from the size of the model, the rows of a step and the number of steps.

Sources. The rate for LoRA on all matrices at 128 rows a step and alpha 32 is ten times that of full training,
5e-5 x 10 x (2000 / H) ** P for a hidden size H, with P fitted to sweeps of two families (tinker-cookbook,
hyperparam_utils.get_lr). It does not depend on the rank where the adapter is scaled by alpha / r, and is fifteen times
that of full training in short trainings (Schulman et al., LoRA Without Regret, 2025). It grows with the square root of
the rows of a step (tinker's guide to supervised training; Malladi et al. 2022, arXiv 2205.10287, for Adam). Adam moves
each weight by the rate whatever its gradient, so twice the alpha is twice the step: the rate is halved.

What compares answers (dpo, kto) learns at a fraction of that, in the guides at a fortieth; but theirs are trainings of
thousands of steps. SmolLM2-135M learned nothing to speak of from 135 steps of dpo at 5e-6 (8 pairs a step, alpha 32: in
58 % of 120 held-out pairs the odds of the better answer grew, where chance gives 50), and in 45 steps at 1e-4, a fifth,
they grew in 78 %, with the answers' own score as it was. So a short training takes a fifth, and a longer one as much
less as it has more steps, down to the guides'. For larger models that is derived. Beyond that fifth it learns more
(5e-4: 80 %), but right answers become less likely, too (bench/results/preferences_h200_2026-11-30.jsonl).

For 8 rows, alpha 16 and an 8B model that is 1.4e-4 (Llama) and 2.4e-4 (Qwen): on both sides of the 2e-4 of the guides.
That one rate matters more than the kind of adapter show Ko et al. 2026 (arXiv 2602.04998). `fitune tune-lr` finds out
what suits the rows at hand.
"""

from dataclasses import dataclass
from math import sqrt

from fitune.core.memory import Shape
from fitune.core.recipe import COMPARE, RATE_SHARES, Recipe
from fitune.core.tokens import Workload

FULL_RATE, LORA_TIMES, SHORT_LORA_TIMES = 5e-5, 10, 15
HIDDEN, ROWS, ALPHA = 2000, 128, 32
"""What FULL_RATE holds for."""
POWERS = {"llama": 0.781, "qwen": 0.0775}
"""How the rate falls with the hidden size, by the family that model_type begins with."""
SHORT_STEPS = 100
COMPARED_SHORT_SHARE = 0.2
"""The share of the rate in a short training that compares answers; RATE_SHARES says that of a long one."""
LOWEST, HIGHEST, LOWEST_FULL = 1e-5, 2e-3, 1e-6


@dataclass(frozen=True, slots=True)
class LearningRate:
    """The highest learning rate of a training."""

    lr: float
    """The rate."""
    why: str
    """The reason, as part of a sentence."""


def learning_rate(recipe: Recipe, shape: Shape | None, work: Workload | None) -> LearningRate:
    """The rate that a recipe asks for, or by these sources where it says "auto".

    shape: None where the model's size is not known. work: the whole training; None counts as long, and as not packed.
    """
    train = recipe.train
    if train.lr != "auto":
        return LearningRate(train.lr, "as the recipe says")
    if shape is None:
        return LearningRate(train.rate, "the rate of the guides, as the size of the model is not known")
    rows = train.micro_batch * train.grad_accum
    if work and work.packing.packed:
        rows = round(rows * work.packing.rows / max(1, work.packing.packed_rows))
    steps = train.max_steps or (work.packing.steps if work else None)
    is_short = steps is not None and steps < SHORT_STEPS
    share = _share_of_objective(recipe, steps)
    why = f"for a hidden size of {shape.hidden:,}, {rows} row{'s' if rows != 1 else ''} a step"
    rate = FULL_RATE * _by_size(shape) * sqrt(rows / ROWS)
    if train.weights == "all":
        lowest, why = LOWEST_FULL, f"{why}, all weights"
    else:
        alpha = recipe.lora.alpha * (sqrt(recipe.lora.r) if recipe.lora.rslora else 1)
        rate *= (SHORT_LORA_TIMES if is_short else LORA_TIMES) * ALPHA / alpha
        lowest, why = (
            LOWEST,
            f"{why}, alpha {recipe.lora.alpha:g}"
            + (f" and only {steps} step{'s' if steps != 1 else ''}" if is_short else ""),
        )
    why += "" if train.objective == "sft" else f", and {share:.2g} of that for objective = {train.objective}"
    return LearningRate(float(f"{share * min(HIGHEST, max(lowest, rate)):.2g}"), why)


def _share_of_objective(recipe: Recipe, steps: int | None) -> float:
    """The rate as a share of that for good answers. steps: None counts as many."""
    train = recipe.train
    share = RATE_SHARES[train.objective]
    if train.objective not in COMPARE or train.weights == "all" or steps is None:
        return share
    return max(share, COMPARED_SHORT_SHARE * min(1, SHORT_STEPS / steps))


def _by_size(shape: Shape) -> float:
    """How much higher or lower the rate is than that of a model of HIDDEN; of another family the lower of the two."""
    powers = [power for family, power in POWERS.items() if shape.model_type.startswith(family)]
    return min(float((HIDDEN / shape.hidden) ** power) for power in powers or POWERS.values())
