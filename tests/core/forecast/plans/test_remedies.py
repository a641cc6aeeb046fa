"""Remedies: each really saves what it says, keeps the effective batch, and the gentle come first."""

from typing import Any

import pytest

from fitune.core.forecast.plans.remedies import remedies
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.shapes import load
from fitune.core.units import GIB
from tests.core.forecast.measurements import on
from tests.core.memory.test_budget import H100, LLAMA_8B, recipe, with_set

SMALL = Card(total_bytes=8 * GIB, free_bytes=round(7.5 * GIB))
HEAVY = {"train__micro_batch": 8, "model__max_seq_length": 4096, "lora__r": 64, "train__optimizer": "adamw_torch"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        HEAVY,
        HEAVY | {"train__backend": "trl", "train__checkpointing": "off", "model__quant": "bf16"},
        {"model__quant": "bf16", "train__checkpointing": "off", "lora__dora": True},
        {"train__micro_batch": 3, "train__grad_accum": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("card", [SMALL, H100, None])
def test_each_saves_what_it_says(fields: dict[str, Any], card: Card | None) -> None:
    before = recipe(**fields)
    total = estimate(LLAMA_8B, before, card).total_bytes
    for remedy in remedies(on(LLAMA_8B, before, card)):
        after = with_set(before, remedy.set)
        assert total - estimate(LLAMA_8B, after, card).total_bytes == remedy.saves_bytes > 0
        assert remedy.costs.endswith(".")
        assert after.train.micro_batch * after.train.grad_accum == before.train.micro_batch * before.train.grad_accum


def test_the_gentle_come_before_those_that_touch_what_is_learned() -> None:
    keys = [next(iter(each.set)) for each in remedies(on(LLAMA_8B, recipe(**HEAVY), SMALL))]
    assert keys.index("train.micro_batch") < keys.index("train.optimizer") < keys.index("train.offload_layers")
    assert keys.index("train.offload_layers") < keys.index("lora.r") < keys.index("model.max_seq_length")


def test_too_few_layers_in_host_ram_become_more() -> None:
    card = Card(total_bytes=8 * GIB, free_bytes=round(5.5 * GIB))
    asked = recipe(train__offload_layers=2)
    assert estimate(LLAMA_8B, asked, card).verdict == "over"
    (more,) = (each.set for each in remedies(on(LLAMA_8B, asked, card)) if "train.offload_layers" in each.set)
    assert more["train.offload_layers"] > 2
    assert estimate(LLAMA_8B, with_set(asked, more), card).verdict == "fits"


def test_offloading_names_the_fewest_layers_that_fit() -> None:
    # 7.3 GiB are needed; with 6.5 some layers must go.
    card = Card(total_bytes=8 * GIB, free_bytes=round(6.5 * GIB))
    layers = next(
        each.set["train.offload_layers"]
        for each in remedies(on(LLAMA_8B, recipe(), card))
        if "train.offload_layers" in each.set
    )
    verdicts = [
        estimate(LLAMA_8B, with_set(recipe(), {"train.offload_layers": count}), card).verdict
        for count in (layers - 1, layers)
    ]
    assert verdicts[0] != "fits"
    assert verdicts[1] == "fits"


def test_nothing_is_offered_that_is_set_already() -> None:
    lean = recipe(train__micro_batch=1, lora__r=8, model__max_seq_length=512, train__offload_layers=31)
    assert remedies(on(LLAMA_8B, lean, SMALL)) == []


@pytest.mark.parametrize(("rank", "offered"), [(16, False), (32, True)])
def test_a_saving_that_the_budget_cant_tell_from_none_is_no_remedy(rank: int, offered: bool) -> None:
    small, change = load("HuggingFaceTB/SmolLM2-135M-Instruct"), {"train.optimizer": "adamw_8bit"}
    before = recipe(lora__r=rank, train__optimizer="adamw_torch")
    totals = [estimate(small, each, SMALL).total_bytes for each in (before, with_set(before, change))]
    assert totals[0] - totals[1] == pytest.approx((55 if offered else 27) << 20, rel=0.05)
    assert (change in [each.set for each in remedies(on(small, before, SMALL))]) is offered


@pytest.mark.parametrize(
    ("fields", "never"),
    [
        ({"lora__init": "pissa"}, "model.quant"),
        ({"lora__init": "orthogonal", "lora__r": 1022}, "model.quant"),
        ({"lora__init": "orthogonal", "lora__r": 1022}, "lora.r"),
        ({"lora__init": "olora", "lora__r": 1022}, "train.backend"),
    ],
    ids=str,
)
def test_nothing_is_offered_that_contradicts_another_setting(fields: dict[str, Any], never: str) -> None:
    before = recipe(model__quant="bf16", train__backend="trl", train__checkpointing="on", **fields)
    found = remedies(on(LLAMA_8B, before, SMALL))
    assert found
    assert all(never not in each.set for each in found)


def test_a_processor_is_offered_what_it_can_do() -> None:
    before = recipe(model__quant="bf16", train__backend="trl", train__checkpointing="off",
                    train__optimizer="adamw_torch", lora__r=256)  # fmt: skip
    keys = {name for each in remedies(on(LLAMA_8B, before, None)) for name in each.set}
    assert keys == {"train.micro_batch", "train.grad_accum", "train.checkpointing", "lora.r", "model.max_seq_length"}


def test_unsloth_is_offered_where_it_can_be_used() -> None:
    before = recipe(train__backend="trl", train__checkpointing="on")
    offered = [
        any("train.backend" in each.set for each in remedies(on(LLAMA_8B, before, SMALL, unsloth_works=works)))
        for works in (True, False)
    ]
    assert offered == [True, False]
