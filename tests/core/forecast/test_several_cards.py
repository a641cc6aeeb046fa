"""Budgets and plans on boxes with several cards, as people have them: whole, split, and of mixed sizes."""

from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.forecast import Fit, Forecast, Site, fit, forecast, resolve, site_of
from fitune.core.forecast.cards import share_of_one
from fitune.core.machine.host import Gpu, Machine
from fitune.core.memory import Card, estimate, shapes
from fitune.core.recipe import Recipe, changed
from fitune.core.units import GIB

L8, L70, Q32 = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen2.5-32B-Instruct"
FREE_SHARE = 0.98
"""The share of its memory that an idle consumer card has free."""
Make = Callable[..., Recipe]


def box(*sizes_gib: float, ram_gib: int = 128) -> Machine:
    """A machine with idle cards of these sizes."""
    cards = tuple(
        Gpu(
            index,
            f"GPU-{index}",
            "NVIDIA GeForce RTX 4090",
            round(size * GIB),
            round(size * FREE_SHARE * GIB),
            compute_capability=(8, 9),
        )
        for index, size in enumerate(sizes_gib)
    )
    versions: dict[str, str | None] = {"unsloth": "2026.10.7", "torch": "2.11.0"}
    return Machine(gpus=cards, gpu_state="ok", versions=versions, ram_available_bytes=ram_gib * GIB)


@pytest.fixture
def seen(recipe: Make, fitune_home: Any) -> Callable[..., Forecast]:
    """The forecast of a recipe on a machine."""

    def look(machine: Machine, model: str, gpus: Any = "all", length: int = 1024, **train: Any) -> Forecast:
        asked = recipe(
            model={"id": model, "max_seq_length": length},
            train={"micro_batch": 1, "grad_accum": 8, **train},
            run={"gpus": gpus},
        )
        resolved = resolve(asked, machine, need_data=False)
        return forecast(shapes.load(model, None), resolved.recipe, site_of(resolved, machine, fitune_home))

    return look


def plan_of(found: Forecast) -> Fit:
    result = fit(found)
    assert result.reason
    return result


def test_a_model_that_fits_one_card_is_whole_on_each_and_nearly_twice_as_fast(seen: Callable[..., Forecast]) -> None:
    one, two = seen(box(24), L8), seen(box(24, 24), L8)
    assert (one.decided.run.shard, two.decided.run.shard) == (False, False)
    assert one.verdict == two.verdict == "fits"
    added = {part.name for part in two.budget.parts} - {part.name for part in one.budget.parts}
    assert added == {"links"}
    assert two.budget.total_bytes > one.budget.total_bytes
    assert one.pace.tokens_per_s
    assert two.pace.tokens_per_s
    assert 1.6 < two.pace.tokens_per_s / one.pace.tokens_per_s < 2
    plan = plan_of(two).plan
    assert plan
    assert plan.recipe.run.shard is False
    assert plan.recipe.train.micro_batch * plan.recipe.train.grad_accum == 8


def test_32b_on_two_cards_of_16_gib_is_split_and_fits(seen: Callable[..., Forecast]) -> None:
    alone, two = seen(box(16), Q32), seen(box(16, 16), Q32)
    assert alone.verdict == "over"
    assert (two.decided.run.shard, two.verdict) == (True, "fits")
    assert two.decided.train.optimizer == "adamw_torch_fused", "8-bit states can't be split"
    names = {part.name: part for part in two.budget.parts}
    assert "split over 2 cards" in names["layer weights"].why
    assert {"gathered layers", "links"} <= set(names)
    plan = plan_of(two).plan
    assert plan
    assert plan.fits


def test_70b_on_two_cards_of_24_gib_gets_the_plan_that_fits(seen: Callable[..., Forecast]) -> None:
    """Split it needs about 24 GiB of each card, which has less free; layers in host RAM make it fit."""
    two = seen(box(24, 24), L70)
    assert two.verdict == "over"
    plan = plan_of(two).plan
    assert plan
    assert plan.fits
    assert plan.recipe.run.shard is False
    assert plan.budget.offloaded_layers
    larger = seen(box(32, 32, ram_gib=256), L70)
    assert (larger.decided.run.shard, larger.verdict) == (True, "fits")


def test_70b_on_four_cards_of_24_gib_needs_the_host_ram_to_load_it_four_times(seen: Callable[..., Forecast]) -> None:
    rich, poor = seen(box(24, 24, 24, 24, ram_gib=256), L70), seen(box(24, 24, 24, 24), L70)
    assert (rich.decided.run.shard, rich.verdict) == (True, "fits")
    assert [each.of for each in poor.shortages] == ["host RAM"]
    assert plan_of(rich).plan
    fallback = plan_of(poor).plan
    assert fallback
    assert fallback.budget.offloaded_layers, "a quarter of a step on each card, with layers in host RAM"


def test_the_smaller_of_two_cards_decides(seen: Callable[..., Forecast]) -> None:
    mixed, small, large = (seen(box(*sizes), Q32) for sizes in ((24, 12), (12, 12), (24, 24)))
    assert mixed.budget.free_bytes == small.budget.free_bytes < large.budget.free_bytes
    assert (mixed.verdict, large.verdict) == ("over", "fits")
    assert seen(box(24, 12), L8).verdict == "fits"


def test_split_parts_shrink_with_the_cards_and_whole_ones_do_not(recipe: Make) -> None:
    shape = shapes.load(L70, None)
    asked = recipe(model={"id": L70}, train={"backend": "unsloth", "optimizer": "adamw_torch_fused"})
    found = []
    for ranks in (2, 4, 8):
        card = Card(80 * GIB, 79 * GIB, (9, 0), ranks=ranks)
        parts = {
            split: {
                part.name: part.bytes
                for part in estimate(shape, changed(asked, {"run.shard": split}), card, 1024).parts
            }
            for split in (True, False)
        }
        found.append(parts)
    split, whole = [each[True] for each in found], [each[False] for each in found]
    assert split[0]["LoRA weights"] == pytest.approx(2 * split[1]["LoRA weights"], abs=2)
    assert split[1]["optimizer states"] == pytest.approx(2 * split[2]["optimizer states"], abs=2)
    assert len({each["embeddings and head"] for each in split}) == 1, "the head is whole on each"
    packed = 0.5 * shape.linear_params
    saved = split[0]["layer weights"] - split[1]["layer weights"]
    assert saved == pytest.approx(packed / 4, rel=1e-6), "the scales of 4-bit weights stay whole"
    assert len({each["layer weights"] for each in whole}) == 1
    assert split[0]["embeddings and head"] < whole[0]["embeddings and head"], "the input embedding is in host RAM"


@pytest.mark.parametrize(("quant", "backend"), [("int8", "unsloth"), ("nf4", "trl")])
def test_what_can_not_be_split_stays_whole(recipe: Make, quant: str, backend: str) -> None:
    asked = recipe(model={"id": L70, "quant": quant}, train={"backend": backend, "checkpointing": "on"})
    site = Site(Card(24 * GIB, 23 * GIB, (8, 9), ranks=2), "NVIDIA GeForce RTX 4090", ranks=2)
    assert forecast(shapes.load(L70, None), asked, site).decided.run.shard is False


def test_one_of_two_cards_takes_half_of_the_micro_batches(recipe: Make) -> None:
    asked = recipe(train={"micro_batch": 2, "grad_accum": 8})
    assert share_of_one(asked, 2).train.grad_accum == 4
    assert share_of_one(asked, 1) == asked
