"""Shapes of the shape job: sizes are those of transformers' classes, and what it can't build is told in a sentence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.memory.shapes import known

SMALL = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 128, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
KINDS: dict[str, dict[str, Any]] = {
    "qwen3_next": {**SMALL, **HEADS, "num_experts": 4, "moe_intermediate_size": 32},
    "gemma4_text": {**SMALL, **HEADS, "num_kv_shared_layers": 2, "vocab_size_per_layer_input": 128},
    "granitemoehybrid": {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2, "mamba_n_heads": 8,
                         "mamba_d_head": 16, "layer_types": ["mamba", "attention"] * 2},
    "lfm2": {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2,
             "layer_types": ["conv", "full_attention"] * 2},
    "zamba2": {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 4, "n_mamba_heads": 8,
               "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "hybrid_layer_ids": [1, 3],
               "num_mem_blocks": 1, "adapter_rank": 4},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128},
    "deepseek_v3": {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 8, "n_group": 2,
                    "topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1},
}  # fmt: skip


ONE_HALF = {"is_encoder_decoder": False}


@pytest.mark.train
@pytest.mark.parametrize("model_type", KINDS)
def test_parameters_and_adapter_are_exact(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import sweep_types

    monkeypatch.setitem(sweep_types.NEEDED, model_type, KINDS[model_type])
    found = sweep_types.compared(model_type)
    assert found.get("exact"), found


@pytest.mark.train
@pytest.mark.parametrize(
    ("model_type", "more", "said"),
    [("bert_of_nobody", {}, "does not know"), ("pi0", {}, "writes no text"),
     ("pp_formulanet", {**ONE_HALF, "text_config": ONE_HALF}, "no table of words"),
     ("clip", {}, "no class that goes on with a text")],
)  # fmt: skip
def test_what_is_no_language_model_is_told_in_a_sentence(model_type: str, more: dict[str, Any], said: str) -> None:
    from fitune.core.worker.architecture.build import build

    with pytest.raises(UserError) as caught:
        build({"model_type": model_type, **more})
    assert said in str(caught.value)


@pytest.mark.train
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_act": "nonsense"}, "from its config.json: it knows no 'nonsense'."),
        (
            {"hidden_size": 66},
            "from its config.json: architecture: The hidden size (66) is not a multiple of the number",
        ),
        ({"attention_bias": 1}, "from its config.json: Field 'attention_bias' expected bool, got int (value: 1)."),
        ({"pad_token_id": "x"}, "(<class 'int'>, <class 'NoneType'>). Download"),
    ],
)
def test_what_transformers_complains_of_is_told_with_the_part_of_the_config(change: dict[str, Any], said: str) -> None:
    from fitune.core.worker.architecture.build import build

    with pytest.raises(UserError) as caught:
        build({"model_type": "llama", **SMALL, "num_attention_heads": 4, **change})
    assert said in str(caught.value)


@pytest.mark.train
def test_infinity_is_read_however_it_was_written() -> None:
    """Configs with Mamba hold [0.0, Infinity]; transformers 5 writes {"__float__": "Infinity"}."""
    config = {"model_type": "granitemoehybrid", **KINDS["granitemoehybrid"]}
    limits: tuple[object, ...] = (float("inf"), {"__float__": "Infinity"})
    plain, as_it_is, tagged = (
        known._ask_job(each, "model", None)
        for each in (config, *({**config, "time_step_limit": [0.0, limit]} for limit in limits))
    )
    assert plain == as_it_is == tagged


@pytest.mark.train
def test_sizes_where_transformers_does_not_read_them_are_refused() -> None:
    """Muse Glimmer's first converter wrote none of its sizes into a text_config; Qwen2.5-VL's may stand there."""
    from fitune.core.worker.architecture.build import build

    with pytest.raises(UserError, match=r"does not read hidden_size, intermediate_size, num_hidden_layers, vocab_size"):
        build({"model_type": "muse_glimmer", **SMALL})
    flat = {"model_type": "qwen2_5_vl", **SMALL, "num_attention_heads": 4, "vision_config": {"out_hidden_size": 64}}
    assert build(flat).config.get_text_config().hidden_size == 64


def test_a_missing_package_is_named_with_the_command_that_adds_it() -> None:
    from fitune.core.worker.architecture.build import _refused

    error = _refused({"model_type": "gemma3n"}, ImportError("TimmWrapperModel requires the timm library but it was"))
    assert str(error) == (
        "A gemma3n model needs the package timm, which is not installed. Add it to the environment of fitune: "
        "uv pip install timm"
    )


@pytest.mark.train
def test_what_mamba_multiplies_in_one_piece_is_counted() -> None:
    from fitune.core.worker.architecture.build import build
    from fitune.core.worker.architecture.describe import describe

    shape = describe(build({"model_type": "granitemoehybrid", **KINDS["granitemoehybrid"]}))
    scans = {layer.mixer: layer.scan for layer in shape.kinds}
    assert scans == {"mamba": 256 * 8 * 256, "full": 0}


LLAMA = {"model_type": "llama", **SMALL, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("TIME_LIMIT_S", 0.01, "were not counted within"), ("CPU_LIMIT_S", 1, "could not be counted within"),
     ("MEMORY_LIMIT_BYTES", 2**25, "could not be counted within")],
)  # fmt: skip
def test_a_job_that_takes_too_much_ends_with_a_sentence(
    limit: str, value: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, limit, value)
    monkeypatch.setattr(known, "_cached", lambda _: None)
    with pytest.raises(UserError, match=said):
        known.shape_of(LLAMA, "my model")


@pytest.mark.train
@pytest.mark.parametrize(
    ("config", "trusted", "said"),
    [
        ({"model_type": "baichuan", "auto_map": {"AutoConfig": "own.Config"}}, False, "brings its own code"),
        ({"model_type": "baichuan", "auto_map": {"AutoConfig": "own.Config"}}, True, "own code can't be run: .*own.py"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, False, "writes no text"),
    ],
)
def test_the_job_tells_the_cause_once(config: dict[str, Any], trusted: bool, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as caught:
        known._ask_job(config, "model", str(tmp_path) if trusted else None)
    assert re.search(said, str(caught.value))
    assert str(caught.value).count(caught.value.hint) == 1
