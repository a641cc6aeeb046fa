"""What must hold for any recipe on any card, tried on seeded random ones."""

import random
from typing import Any

import pytest

from fitune.core.errors import BadInput
from fitune.core.forecast.plans.fit import fit
from fitune.core.forecast.plans.remedies import remedies
from fitune.core.memory import shapes
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.config_json import shipped_configs
from fitune.core.recipe.fields import Recipe
from fitune.core.recipe.load import parse
from fitune.core.units import GIB
from tests.core.forecast.measurements import on
from tests.core.memory.test_budget import with_set

MODELS = sorted(name for name, config in shipped_configs().items() if "quantization_config" not in config)
RAM = 256 * GIB


def any_recipe(dice: random.Random, backend: str) -> Recipe:
    """A recipe that contradicts nothing."""
    unsloth = backend == "unsloth"
    tree: dict[str, Any] = {
        "model": {"id": "x", "quant": dice.choice(["nf4", "int8", "bf16"]),
                  "max_seq_length": dice.choice([32, 511, 1024, 2047, 8192, 65_536])},
        "lora": {"r": dice.choice([1, 8, 17, 64, 512]), "dora": dice.random() < 0.2, "dropout": dice.choice([0, 0.1]),
                 "init": dice.choice(["default", "gaussian", "pissa", "orthogonal"]),
                 "target_modules": dice.choice(["all-linear", ["o_proj"], ["q_proj", "v_proj"]])},
        "data": {"source": "x"},
        "train": {"backend": backend, "micro_batch": dice.choice([1, 2, 3, 8]), "grad_accum": dice.choice([1, 4, 5]),
                  "checkpointing": dice.choice(["unsloth", "on", "off"] if unsloth else ["on", "off"]),
                  "optimizer": dice.choice(["adamw_8bit", "adamw_torch", "adafactor", "lion_8bit", "sgd"]),
                  "checkpoint_skip_layers": dice.choice([None, None, 3, 1000]) if unsloth else None,
                  "offload_layers": dice.choice([None, None, "auto", 4, 1000]) if unsloth else None},
    }  # fmt: skip
    try:
        return parse(tree, "dice")
    except BadInput:
        return any_recipe(dice, backend)


def any_card(dice: random.Random) -> Card:
    size_gib = dice.choice([2, 4, 6, 8, 12, 16, 24, 48, 80])
    free_bytes = round(size_gib * GIB * dice.choice([0.95, 0.8, 0.3]))
    return Card(size_gib * GIB, free_bytes, dice.choice([(7, 5), (8, 9), (9, 0), None]), dice.random() < 0.9)


@pytest.mark.parametrize("seed", range(24))
def test_remedies_and_plans_are_recipes_that_do_what_is_said_of_them(seed: int) -> None:
    dice = random.Random(seed)
    shape, card = shapes.load(dice.choice(MODELS)), any_card(dice)
    own = any_recipe(dice, dice.choice(["unsloth", "trl"]))
    before = estimate(shape, own, card)
    assert sum(part.bytes for part in before.parts) == before.total_bytes
    assert 0 < before.low_bytes <= before.total_bytes <= before.high_bytes
    for way in remedies(on(shape, own, card)):
        after = estimate(shape, with_set(own, way.set), card)
        assert before.total_bytes - after.total_bytes == way.saves_bytes > 0
        assert after.offloaded_layers < len(shape.layers)
    found = fit(on(shape, own, card, None, RAM))
    promised = [each.set for each in (found.plan, found.longest) if each and each.forecast.verdict != "tight"]
    promised += [each.set for each in found.ways_out]
    for changes in filter(None, promised):
        assert estimate(shape, with_set(own, changes), card).verdict == "fits"
    if found.plan and found.plan.forecast.verdict == "tight":
        assert estimate(shape, with_set(own, found.plan.set), card).verdict == "tight"
        assert found.reason.startswith("No plan surely fits")
    if before.verdict == "fits":
        assert found.plan is not None
    if found.longest:
        assert found.longest.recipe.model.max_seq_length >= own.model.max_seq_length // 64 * 64


@pytest.mark.parametrize("name", ["model.max_seq_length", "train.micro_batch", "lora.r"])
@pytest.mark.parametrize("seed", range(8))
def test_with_trl_more_is_never_cheaper(seed: int, name: str) -> None:
    """With Unsloth it may be: loss chunks come in fours, and from some length on tensors move to host RAM."""
    dice = random.Random(seed)
    shape, card, own = shapes.load(dice.choice(MODELS)), any_card(dice), any_recipe(dice, "trl")
    group, _, key = name.partition(".")
    value = getattr(getattr(own, group), key)
    totals = []
    for times in (1, 2):
        more = estimate(shape, with_set(own, {name: value * times}), card)
        totals.append((more.total_bytes, more.needed_bytes, more.disk_bytes))
    assert all(later >= first for first, later in zip(*totals, strict=True))
