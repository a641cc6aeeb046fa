"""Terms of the budget where a recipe leaves the usual path."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.score_budget import loss_chunks
from fitune.core.errors import BadInput, UserError
from fitune.core.memory import idle_choices
from fitune.core.memory.budget import Card, estimate
from fitune.core.memory.plan import make_plan
from fitune.core.memory.shapes import load
from fitune.core.recipe import presets
from fitune.core.units import GIB
from tests.core.memory.test_budget import H100, LLAMA_8B, part, recipe

HEAD = 2 * LLAMA_8B.vocab * LLAMA_8B.hidden
"""Bytes of the head in 16 bits; the input embedding is as large."""
RESULTS = Path(__file__).parents[3] / "bench" / "results" / "presets_h100_2026-11-22.jsonl"
MEASURED = [row for row in map(json.loads, RESULTS.read_text().splitlines()) if row.get("device")]


def trained(*modules: str, **fields: Any) -> Any:
    return recipe(lora__target_modules=["q_proj", "v_proj", *modules], **fields)


@pytest.mark.parametrize("module", ["embed_tokens", "model.embed_tokens", "lm_head"])
def test_embeddings_that_unsloth_trains_whole_count_with_gradients_and_states(module: str) -> None:
    plain, whole = (estimate(LLAMA_8B, trained(*modules), H100) for modules in ((), (module,)))
    assert part(whole, "LoRA gradients") - part(plain, "LoRA gradients") == HEAD
    states = part(whole, "optimizer states") - part(plain, "optimizer states")
    in_fp32 = "embed_tokens" in module  # of an embedding, whatever the optimizer says
    assert states == pytest.approx(4 * HEAD if in_fp32 else HEAD * (1 + 4 / 256), rel=1e-3)
    assert whole.total_bytes - plain.total_bytes >= 0.98 * (HEAD + states)
    assert whole.disk_bytes - plain.disk_bytes >= HEAD


@pytest.mark.parametrize("module", ["embed_tokens", "model.embed_tokens"])
def test_the_adapter_of_an_embedding_that_trl_trains_is_counted(module: str) -> None:
    """peft's: of the vocabulary and the width, with Qwen2-0.5B and q_proj 3.13 M instead of 0.69 M."""
    fields = {"train__backend": "trl", "train__checkpointing": "on"}
    plain, with_words = (make_plan(LLAMA_8B, trained(*each, **fields), H100, None) for each in ((), (module,)))
    assert with_words.lora_params - plain.lora_params == 16 * (LLAMA_8B.vocab + LLAMA_8B.hidden)
    alone = recipe(lora__target_modules=[module], **fields)
    assert make_plan(LLAMA_8B, alone, H100, None).lora_params == 16 * (LLAMA_8B.vocab + LLAMA_8B.hidden)


def test_words_alone_are_told_where_they_are_trained() -> None:
    alone = recipe(lora__target_modules=["embed_tokens"], train__backend="unsloth")
    with pytest.raises(UserError, match="choose nothing") as caught:
        estimate(LLAMA_8B, alone, H100)
    assert "lora.modules_to_save" in caught.value.hint


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (None, {"lora__target_modules": ("q_proj", "v_projj")}, "lora.target_modules: the model has no v_projj;"),
        (None, {"lora__layers": (3, 50, 60)}, "lora.layers: the model has layers 0 to 31, and no 50, 60."),
        (None, {"lora__target_modules": ("layers.3.mlp.up_proj", "embed_tokens", "lm_head")}, ""),
        (None, {"lora__target_modules": "all-linear", "lora__layers": (0, 31)}, ""),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", {"lora__target_modules": ("q_proj", "gate_proj", "up_proj")}, ""),
    ],
)
def test_modules_and_layers_that_a_model_does_not_have_are_told(
    model: str | None, changes: dict[str, Any], said: str
) -> None:
    found = " ".join(idle_choices(load(model) if model else LLAMA_8B, recipe(**changes)))
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize("length", [1024, 1025])
def test_rows_for_which_a_model_has_no_places_are_refused(length: int) -> None:
    shape = replace(LLAMA_8B, positions=1024)
    if length <= 1024:
        assert estimate(shape, recipe(model__max_seq_length=length), H100).total_bytes
        return
    with pytest.raises(UserError, match="places for 1,024 tokens") as caught:
        estimate(shape, recipe(model__max_seq_length=length), H100)
    assert "1024 or less" in caught.value.hint


def test_the_frozen_embeddings_stay_beside_the_trained_ones_but_with_unsloths_checkpointing() -> None:
    parked, on_card = (estimate(LLAMA_8B, trained("lm_head", train__checkpointing=each), H100)
                       for each in ("unsloth", "on"))  # fmt: skip
    assert (part(parked, "trained embeddings"), part(on_card, "trained embeddings")) == (0, HEAD)


def test_without_bf16_they_are_trained_in_32_bits() -> None:
    t4, ampere = (Card(80 * GIB, 79 * GIB, capability) for capability in ((7, 5), (8, 0)))
    old, new = (estimate(LLAMA_8B, trained("lm_head"), card) for card in (t4, ampere))
    assert part(old, "trained embeddings") - part(new, "trained embeddings") == HEAD
    assert part(old, "LoRA gradients") - part(new, "LoRA gradients") == HEAD


def test_a_pair_that_is_shared_is_trained_once() -> None:
    tied = load("meta-llama/Llama-3.2-1B-Instruct")
    one, both = (estimate(tied, trained(*modules), H100) for modules in (("lm_head",), ("lm_head", "embed_tokens")))
    assert part(one, "LoRA gradients") == part(both, "LoRA gradients")


def test_an_input_embedding_that_is_trained_does_not_go_to_host_ram() -> None:
    tight = Card(8 * GIB, round(7.5 * GIB), (9, 0))
    for fields in ({}, {"train__offload_layers": "auto"}):
        frozen, whole = (estimate(LLAMA_8B, trained(*modules, **fields), tight)
                         for modules in ((), ("embed_tokens",)))  # fmt: skip
        assert "host RAM" in next(each.why for each in frozen.parts if each.name == "embeddings and head")
        assert "host RAM" not in next(each.why for each in whole.parts if each.name == "embeddings and head")


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_leave_unsloths_own_layers_as_dora_does(bias: str) -> None:
    own, other = (estimate(LLAMA_8B, recipe(lora__bias=each), H100) for each in ("none", bias))
    assert part(own, "dequantization scratch") > part(other, "dequantization scratch") == 0
    assert part(other, "layer backward") > 2 * part(own, "layer backward")


def test_inputs_too_small_to_be_parked_are_not_said_to_be() -> None:
    small = load("meta-llama/Llama-3.2-1B-Instruct")
    for rows, parked in ((1, False), (2, True)):
        found = estimate(small, recipe(model__max_seq_length=512, train__micro_batch=rows), H100)
        said = next(each.why for each in found.parts if each.name == "layer inputs")
        assert ("offloaded to host RAM" in said) is parked is (found.host_bytes > 0)


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row["preset"])
def test_the_measured_peak_of_a_preset_is_met_within_five_percent_and_never_one_under(row: dict[str, Any]) -> None:
    asked = presets.find(row["preset"]).recipe("rows.jsonl")
    asked = asked.model_copy(update={"data": asked.data.model_copy(update={"packing": False, "eval_fraction": 0.0})})
    card = Card(H100.total_bytes, row["free_bytes"] or H100.free_bytes, H100.compute_capability)
    with loss_chunks():
        budget = estimate(load(row["model"]), asked, card)
    assert -0.01 <= budget.total_bytes / row["device"] - 1 <= 0.05
    assert budget.low_bytes <= row["device"] <= budget.high_bytes


def test_adding_up_gradients_takes_room_while_a_layers_own_are_made() -> None:
    once, often = (estimate(LLAMA_8B, recipe(train__grad_accum=each), H100) for each in (1, 4))
    tokens, layers = 2 * 2048, len(LLAMA_8B.layers)
    expected = 2 * tokens * LLAMA_8B.hidden + part(often, "LoRA weights") // layers
    assert part(often, "layer backward") - part(once, "layer backward") == expected


def test_modules_that_are_trained_whole_count_with_both_backends() -> None:
    for backend in ("unsloth", "trl"):
        fields = {"train__backend": backend, "train__checkpointing": "on"}
        plain, whole = (
            estimate(LLAMA_8B, recipe(lora__modules_to_save=names, **fields), H100) for names in ([], ["lm_head"])
        )
        assert part(whole, "LoRA gradients") - part(plain, "LoRA gradients") == HEAD
        assert part(whole, "trained embeddings") == HEAD


def test_a_rank_of_its_own_counts_for_the_modules_it_names() -> None:
    plain, none, some, more = (
        part(estimate(LLAMA_8B, recipe(lora__rank_pattern=pattern), H100), "LoRA weights")
        for pattern in ({}, {"nothing": 64}, {"q_proj": 32}, {"layers.0.self_attn.q_proj": 32})
    )
    one_layer = 4 * 16 * (4096 + 4096)
    assert (none - plain, some - plain, more - plain) == (0, 32 * one_layer, one_layer)


def test_lora_fa_keeps_gradients_and_states_of_the_second_matrix_alone() -> None:
    plain, alone = (
        estimate(LLAMA_8B, recipe(train__optimizer=name, lora__target_modules=["q_proj"]), H100)
        for name in ("adamw_torch_fused", "lora_fa")
    )
    for name in ("LoRA gradients", "optimizer states"):
        assert part(alone, name) == part(plain, name) / 2
    assert part(alone, "LoRA weights") == part(plain, "LoRA weights")


def test_all_weights_count_with_the_model_as_it_was_their_gradients_and_states() -> None:
    small = load("Qwen/Qwen3-0.6B")
    fields = {"model__quant": "bf16", "train__backend": "trl", "train__checkpointing": "on", "train__weights": "all"}
    found = {
        name: estimate(small, recipe(train__optimizer=name, **fields), H100)
        for name in ("adamw_8bit", "adamw_torch_fused", "paged_adamw_8bit", "adafactor")
    }
    one = found["adamw_8bit"]
    assert part(one, "trained weights") == part(one, "gradients") == 4 * small.params
    frozen = part(one, "layer weights") + part(one, "embeddings and head")
    assert frozen == pytest.approx(2 * small.params, rel=1e-3)
    states = {name: part(each, "optimizer states") / small.params for name, each in found.items()}
    eight = (2.03 * (small.params - small.embedding) + 8 * small.embedding) / small.params
    assert states == pytest.approx(
        {"adamw_8bit": eight, "adamw_torch_fused": 8, "paged_adamw_8bit": 0, "adafactor": 0}, abs=0.01
    )
    assert part(one, "LoRA weights") == 0
    assert one.disk_bytes > 4 * (4 + 2) * small.params


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"model__quant": "nf4"}, "quantized ones can't"),
        ({"lora__dora": True}, "lora.dora: means nothing"),
        ({"train__backend": "unsloth"}, "the trl backend only"),
        ({"run__gpus": 2}, "on one card"),
        ({"train__optimizer": "lora_fa"}, "is for adapters"),
    ],
)
def test_what_excludes_all_weights_is_said(sets: dict[str, Any], said: str) -> None:
    fields = {"model__quant": "bf16", "train__backend": "trl", "train__checkpointing": "on", "train__weights": "all"}
    with pytest.raises(BadInput, match=said):
        recipe(**{**fields, **sets})
