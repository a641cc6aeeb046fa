"""What all-linear and named modules mean in models of many kinds, built small on the meta device."""

from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.worker.architecture.targets import find_targets, short_names

RANK = 8
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "vocab_size": 128}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
TOWER = {"hidden_size": 96, "num_hidden_layers": 2}


def model_of(model_type: str, **values: Any) -> Any:
    """A model on the meta device: default values of its config class, but for `values`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = AutoConfig.for_model(model_type, **values)
    kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        return kind.from_config(config)


def trained_with(model: Any, modules: Any, parameters: list[str] | None = None) -> tuple[set[str], int]:
    """The leaf names that peft puts an adapter on, and its number of weights."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, target_modules=modules, target_parameters=parameters, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    paths = {
        name.partition(".lora_A")[0].removeprefix("base_model.model.")
        for name, _ in adapted.named_parameters()
        if ".lora_A" in name
    }
    return paths, sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("model_type", "values"),
    [
        ("llama", SMALL),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128}),
        ("gpt_neox", SMALL | {"num_attention_heads": 4}),
        ("falcon", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 128}),
        ("bloom", {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128}),
        ("starcoder2", SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2}),
        ("lfm2", SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2}),
        ("qwen3_5_text", SMALL | HEADS | {"linear_num_key_heads": 2, "linear_num_value_heads": 4}),
        ("gpt_oss", SMALL | HEADS | {"num_local_experts": 4}),
        ("qwen3_5_moe_text", SMALL | HEADS | {"num_experts": 4, "moe_intermediate_size": 32}),
        ("phi3", SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}),
    ],
)
def test_all_linear_of_a_text_model_is_what_peft_means(model_type: str, values: dict[str, Any]) -> None:
    model = model_of(model_type, **values)
    targets = find_targets(model, "all-linear")
    assert not targets.parameters
    short = short_names(model, targets.modules)
    ours = trained_with(model, short)
    assert ours[0] == set(targets.modules)
    assert ours == trained_with(model_of(model_type, **values), "all-linear")


def test_the_names_are_short_where_nothing_else_ends_so() -> None:
    model = model_of("llama", **SMALL)
    short = short_names(model, find_targets(model, "all-linear").modules)
    assert short == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def test_the_image_tower_is_left_out() -> None:
    for wanted in ("all-linear", ("q_proj", "k_proj")):
        model = model_of("gemma3", text_config=SMALL | HEADS, vision_config=TOWER)
        targets = find_targets(model, wanted)
        assert {path.split(".")[1] for path in targets.modules} == {"language_model"}
        paths, _ = trained_with(model, short_names(model, targets.modules))
        assert paths == set(targets.modules)


def test_experts_are_adapted_when_they_are_named_only() -> None:
    values = SMALL | HEADS | {"num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2}
    model = model_of("qwen3_moe", **values)
    assert not find_targets(model, "all-linear").parameters
    named = find_targets(model, ("q_proj", "gate_proj", "down_proj"))
    assert {path.rpartition(".")[2] for path in named.parameters} == {"gate_up_proj", "down_proj"}
    _, trained = trained_with(model, short_names(model, named.modules), list(named.parameters))
    queries = RANK * (64 + 64) * 4
    assert trained == queries + RANK * 4 * 4 * ((64 + 64) + (64 + 32))


def test_matrices_that_peft_takes_for_experts_are_left_out() -> None:
    """Of qwen3_next's shared expert: peft would train all routed experts instead, with twice the rank."""
    values = SMALL | HEADS | {"num_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2}
    for wanted in ("all-linear", ("q_proj", "gate_proj", "up_proj", "down_proj")):
        model = model_of("qwen3_next", **values)
        targets = find_targets(model, wanted)
        assert not [path for path in targets.modules if path.endswith(("gate_proj", "up_proj", "down_proj"))]
        paths, _ = trained_with(model, short_names(model, targets.modules), list(targets.parameters))
        assert {path for path in paths if "experts" not in path} == set(targets.modules)
        assert any("experts" in path for path in paths) == bool(targets.parameters)


def test_a_routed_expert_of_its_own_matrices_is_no_part_of_all_linear() -> None:

    import torch

    model = model_of("qwen3_moe", **SMALL | HEADS | {"num_experts": 4, "moe_intermediate_size": 32})
    for layer in model.model.layers:  # as gpt-oss repositories in bitsandbytes' 4 bits have them
        layer.mlp.experts = torch.nn.ModuleDict(
            {"down_projs": torch.nn.ModuleList([torch.nn.Linear(32, 64) for _ in range(2)])}
        )
    paths = find_targets(model, "all-linear").modules
    assert not [path for path in paths if "experts" in path]


def test_what_a_mamba_kernel_reads_itself_gets_no_adapter() -> None:
    values = SMALL | {
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 0, "mamba_n_heads": 8,
        "mamba_d_head": 16, "layer_types": ["mamba", "attention", "mamba", "mamba"], "shared_intermediate_size": 64,
    }  # fmt: skip
    names = {
        path.rpartition(".")[2] for path in find_targets(model_of("granitemoehybrid", **values), "all-linear").modules
    }
    assert "in_proj" in names
    assert "out_proj" not in names


def test_layers_choose_within_the_decoder() -> None:
    model = model_of("gemma3", text_config=SMALL | HEADS, vision_config=TOWER)
    targets = find_targets(model, "all-linear", (1, 3))
    assert {path.split(".")[3] for path in targets.modules} == {"1", "3"}
    assert len(targets.modules) == 14


def test_embedding_and_head_can_be_named() -> None:
    targets = find_targets(model_of("llama", **SMALL), ("q_proj", "embed_tokens", "lm_head"))
    assert {path.rpartition(".")[2] for path in targets.modules} == {"q_proj", "embed_tokens", "lm_head"}


def test_names_that_fit_nothing_are_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="choose nothing") as error:
        find_targets(model_of("llama", **SMALL), ("query_key_value",))
    assert "q_proj" in error.value.hint
