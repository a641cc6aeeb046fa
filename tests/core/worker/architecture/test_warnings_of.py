"""What is told of a model with its adapter before it is trained."""

from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.recipe import Lora


@pytest.mark.parametrize(
    ("wanted", "lost"),
    [
        ("all-linear", []),
        (["q_proj"], []),
        (["q_proj", "k_porj", "proj"], ["k_porj, proj"]),
        (["attn.q_proj"], []),
        (["down_proj"], []),
        (["q_proj", "lm_head", "embed_tokens"], ["embed_tokens"]),
    ],
)
def test_a_module_that_the_model_does_not_have_is_told(
    wanted: Any, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.architecture import warnings_of as module
    from fitune.core.worker.architecture.warnings_of import warnings_of

    monkeypatch.setattr(module, "holds_experts", lambda model: True)
    modules = {
        "layers.0.attn.q_proj": SimpleNamespace(lora_A=1),
        "layers.0.attn.k_proj": SimpleNamespace(),
        "layers.0.mlp.experts": SimpleNamespace(lora_A=1),
        "lm_head": SimpleNamespace(modules_to_save=1),
    }
    model = SimpleNamespace(named_modules=modules.items, get_base_model=lambda: None)
    lora = Lora.model_validate({"target_modules": wanted})
    said = [each.message for each in warnings_of(model, lora, "trl", on_card=False) if each.kind == "modules"]
    assert said == [f"lora.target_modules: the model has no {each}; only the others are trained." for each in lost]


@pytest.mark.parametrize(
    ("pattern", "idle"),
    [({"q_proj": 4, "layers.0.attn.q_proj": 8, "layers..*.q_proj": 2}, ""), ({"k_proj": 4, "proj": 2}, "k_proj, proj")],
)
def test_a_rank_for_no_module_is_told(pattern: dict[str, int], idle: str) -> None:
    from fitune.core.worker.architecture.warnings_of import warnings_of

    modules = {"model.layers.0.attn.q_proj": SimpleNamespace(lora_A=1), "model.layers.0.attn.k_proj": SimpleNamespace()}
    model = SimpleNamespace(named_modules=modules.items)
    lora = Lora.model_construct(target_modules="all-linear", rank_pattern=pattern)
    told = [each.message for each in warnings_of(model, lora, "trl", on_card=False)]
    assert (
        told
        == [f"lora.rank_pattern: no module with an adapter is named {idle}; lora.r holds for all others."][: bool(idle)]
    )


@pytest.mark.parametrize(
    ("family", "targets", "warned"),
    [
        ("mixtral", "mlp.experts.down_proj", []),
        ("ernie4_5_vl_moe", "mlp.text_moe.experts.down_proj", ["experts"]),
        ("ernie4_5_vl_moe", None, []),
    ],
)
def test_an_adapter_on_experts_that_the_files_hold_otherwise_is_told_to_be_no_part_of_a_merge(
    family: str, targets: str | None, warned: list[str]
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig

    from fitune.core.worker.architecture.model_class import model_class
    from fitune.core.worker.architecture.warnings_of import warnings_of

    config = AutoConfig.for_model(family)
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size = 2, 128
    if "layer_types" in text:
        text.layer_types = text.layer_types[:2]
    with torch.device("meta"):
        model = model_class(config).from_config(config)
        adapter = LoraConfig(target_modules=["q_proj"], target_parameters=[targets] if targets else None)
        model = get_peft_model(model, adapter)
    lora = Lora.model_validate({"target_modules": ["q_proj"]})
    assert [each.kind for each in warnings_of(model, lora, "trl", on_card=False)] == warned


@pytest.mark.parametrize(
    ("model_type", "layer_types", "backend", "package"),
    [
        ("granitemoehybrid", ["mamba", "attention"], "unsloth", "mamba-ssm"),
        ("granitemoehybrid", ["attention", "attention"], "unsloth", ""),
        ("qwen3_5", ["linear_attention", "full_attention"], "trl", "flash-linear-attention"),
        ("qwen3_5", ["linear_attention", "full_attention"], "unsloth", ""),
        ("falcon_mamba", None, "trl", "mamba-ssm"),
        ("llama", None, "trl", ""),
    ],
)
def test_layers_with_a_state_that_lack_their_kernels_are_told_on_a_card(
    model_type: str, layer_types: list[str] | None, backend: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.machine import attention
    from fitune.core.worker.architecture.warnings_of import warnings_of

    monkeypatch.setattr(attention, "_is_installed", lambda name: False)
    text = SimpleNamespace(layer_types=layer_types)
    config = SimpleNamespace(model_type=model_type, get_text_config=lambda: text)
    model = SimpleNamespace(named_modules=lambda: [], config=config)
    assert not list(warnings_of(model, Lora(), backend, on_card=False)), "no kernel helps a processor"
    said = [each.message for each in warnings_of(model, Lora(), backend, on_card=True)]
    assert [package in message for message in said] == [True] * bool(package)
