"""What comparing answers costs: two texts a row, passes forward with the adapter off, and no plan that changes it."""

from typing import Any

import pytest

from fitune.core.forecast import Site, fit, forecast
from fitune.core.forecast.learning_rate import learning_rate
from fitune.core.forecast.pace import estimate_pace, flops_per_token
from fitune.core.memory import Card, shapes
from fitune.core.memory.budget import estimate
from fitune.core.recipe import Recipe, parse
from fitune.core.tokens import decide_packing
from fitune.core.units import GIB
from fitune.core.worker.training.recovery.remedies import next_remedy

LLAMA = shapes.load("meta-llama/Llama-3.1-8B-Instruct")
CARD = Card(24 * GIB, 23 * GIB, (8, 9))


def recipe(objective: str, **train: Any) -> Recipe:
    settings = {"backend": "trl", "checkpointing": "on", "objective": objective, **train}
    model = {"id": "x", "max_seq_length": 1024}
    return parse({"model": model, "data": {"source": "x"}, "train": settings}, "test")


def part(objective: str, name: str) -> int:
    return sum(each.bytes for each in estimate(LLAMA, recipe(objective), CARD).parts if each.name == name)


def test_two_answers_take_twice_the_activations_of_one() -> None:
    assert part("dpo", "layer inputs") == 2 * part("sft", "layer inputs")
    assert part("kto", "layer inputs") == part("sft", "layer inputs"), "one answer a row"
    assert part("dpo", "layer weights") == part("sft", "layer weights"), "no second model"


def test_orpo_holds_the_logits_of_both_answers() -> None:
    tokens = 2 * 2 * 1024
    assert part("orpo", "loss") >= 2 * 5 * tokens * LLAMA.vocab


def test_each_pass_with_the_adapter_off_costs_a_forward_pass() -> None:
    sft, dpo, kto, orpo = (flops_per_token(LLAMA, recipe(each), 0) for each in ("sft", "dpo", "kto", "orpo"))
    assert orpo == sft
    assert dpo - sft == pytest.approx(2 * LLAMA.active_params, rel=0.02)
    assert kto - sft == pytest.approx(3 * (dpo - sft))
    same_tokens = (recipe("sft"), recipe("dpo", micro_batch=1, grad_accum=8), recipe("kto"))
    paces = [estimate_pace(LLAMA, each, "H100").tokens_per_s or 0 for each in same_tokens]
    assert paces == sorted(paces, reverse=True)


def test_a_pair_counts_as_one_row() -> None:
    packing = decide_packing({100: 600, 200: 600}, recipe("dpo"), None)
    assert (packing.rows, packing.packed, packing.why, packing.steps) == (600, False, "compared", 75)
    assert decide_packing({100: 600, 200: 600}, recipe("kto"), None).rows == 1200


@pytest.mark.parametrize(("objective", "low", "high"), [("dpo", 1e-6, 1e-5), ("kto", 1e-6, 1e-5), ("orpo", 2e-5, 1e-4)])
def test_the_rate_goes_by_the_objective(objective: str, low: float, high: float) -> None:
    chosen = learning_rate(recipe(objective), LLAMA, None)
    assert low <= chosen.lr <= high
    assert f"objective = {objective}" in chosen.why
    assert low <= recipe(objective).train.rate <= high


@pytest.mark.parametrize("objective", ["orpo", "kto"])
def test_no_plan_splits_what_is_computed_together(objective: str) -> None:
    own = recipe(objective, micro_batch=4, grad_accum=2)
    found = fit(forecast(LLAMA, own, Site(CARD, "RTX 4090")))
    plans = [found.proposal.recipe] if found.proposal else []
    assert all((each.train.micro_batch, each.train.grad_accum) == (4, 2) for each in plans)
    assert all("train.micro_batch" not in each.set for each in found.rejected)


def test_memory_that_runs_out_leaves_kto_rows_to_compare() -> None:
    assert next_remedy(recipe("kto", micro_batch=2)) is None
    assert next_remedy(recipe("dpo", micro_batch=2)) is not None
