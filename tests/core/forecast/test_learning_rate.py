"""The rate of train.lr = "auto": by its sources, and told wherever the training is."""

from typing import Any

import pytest

from fitune.core.forecast import learning_rate
from fitune.core.memory import Shape, shapes
from fitune.core.recipe import Recipe
from fitune.core.recipe.load import parse

LLAMA, QWEN = shapes.load("meta-llama/Llama-3.1-8B-Instruct"), shapes.load("Qwen/Qwen3-8B")
SMALL = shapes.load("HuggingFaceTB/SmolLM2-135M-Instruct")


def asked(lr: Any = "auto", lora: dict[str, Any] | None = None, **train: Any) -> Recipe:
    tree = {"model": {"id": "any/model", "quant": "bf16"}, "data": {"source": "rows.jsonl"}, "lora": lora or {}}
    return parse({**tree, "train": {"lr": lr, **train}}, "recipe")


@pytest.mark.parametrize(("shape", "rate"), [(LLAMA, 1.4e-4), (QWEN, 2.4e-4), (SMALL, 6.6e-4)])
def test_the_rate_follows_from_the_size_of_the_model(shape: Shape, rate: float) -> None:
    assert learning_rate(asked(), shape, None).lr == pytest.approx(rate)


def test_the_sources_own_setting_gives_their_rate() -> None:
    recipe = asked(micro_batch=128, grad_accum=1, lora={"r": 32, "alpha": 32})
    assert learning_rate(recipe, LLAMA, None).lr == pytest.approx(5e-4 * (2000 / 4096) ** 0.781, rel=0.05)


def test_four_times_the_rows_double_it_and_twice_the_alpha_halves_it() -> None:
    one = learning_rate(asked(), LLAMA, None).lr
    assert learning_rate(asked(micro_batch=8), LLAMA, None).lr == pytest.approx(2 * one, rel=0.05)
    assert learning_rate(asked(lora={"alpha": 32}), LLAMA, None).lr == pytest.approx(one / 2, rel=0.05)
    assert learning_rate(asked(lora={"r": 64}), LLAMA, None).lr == one
    with_root = {"alpha": 4, "r": 16, "rslora": True}
    assert learning_rate(asked(lora=with_root), LLAMA, None).lr == one


def test_a_short_training_takes_larger_steps_and_says_so() -> None:
    found = learning_rate(asked(max_steps=40), LLAMA, None)
    assert found.lr == pytest.approx(1.5 * 1.4e-4, rel=0.05)
    assert found.why == "for a hidden size of 4,096, 8 rows a step, alpha 16 and only 40 steps"
    assert learning_rate(asked(max_steps=1), LLAMA, None).why.endswith("only 1 step")


@pytest.mark.parametrize("objective", ["dpo", "kto"])
@pytest.mark.parametrize(
    ("steps", "share"), [(None, 1 / 40), (1, 0.2), (100, 0.2), (200, 0.1), (800, 1 / 40), (8000, 1 / 40)]
)
def test_what_compares_answers_takes_smaller_steps_the_more_there_are(
    objective: str, steps: int | None, share: float
) -> None:
    plain = learning_rate(asked(max_steps=steps), SMALL, None).lr
    assert learning_rate(asked(max_steps=steps, objective=objective), SMALL, None).lr == pytest.approx(
        share * plain, rel=0.05
    )


def test_the_measured_rate_of_a_short_comparison() -> None:
    found = learning_rate(asked(max_steps=45, objective="dpo", lora={"alpha": 32}), SMALL, None)
    assert found.lr == pytest.approx(1e-4, rel=0.05)
    assert found.why.endswith(", and 0.2 of that for objective = dpo")


def test_a_number_stays_a_number_and_an_unknown_model_gets_the_rate_of_the_guides() -> None:
    assert learning_rate(asked(3e-5), LLAMA, None).lr == 3e-5
    found = learning_rate(asked(), None, None)
    assert (found.lr, "not known" in found.why) == (2e-4, True)


def test_no_shape_and_no_batch_gives_a_rate_beyond_reason() -> None:
    assert learning_rate(asked(micro_batch=4096, grad_accum=16), SMALL, None).lr == 2e-3
    assert learning_rate(asked(lora={"alpha": 4096}), LLAMA, None).lr == 1e-5


def test_all_weights_learn_at_a_tenth_of_an_adapters_rate() -> None:
    whole = asked(micro_batch=128, grad_accum=1, weights="all")
    adapter = asked(micro_batch=128, grad_accum=1, lora={"alpha": 32})
    found = learning_rate(whole, LLAMA, None)
    assert found.lr == pytest.approx(learning_rate(adapter, LLAMA, None).lr / 10, rel=0.05)
    assert found.why.endswith("128 rows a step, all weights")
    assert learning_rate(whole, None, None).lr == pytest.approx(2e-5)
    assert learning_rate(asked(weights="all", objective="dpo"), LLAMA, None).lr < 1e-6
