"""What is no language model, though transformers would make one of it, is refused; what is one is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.recipe.load import parse
from fitune.core.worker.models import ModelFiles

pytestmark = pytest.mark.train

SMALL = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
SEES = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 64}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128, "n_positions": 64}


def small(model_type: str, **values: Any) -> dict[str, Any]:
    return {"model_type": model_type, **SMALL, **values}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "t5", "d_model": 64, "num_layers": 1}, "two halves"),
        ({"model_type": "whisper", "d_model": 64}, "two halves"),
        ({"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}, "two halves"),
        (small("bert", architectures=["BertForMaskedLM"]), "BertForMaskedLM: that class writes no text"),
        (small("bert"), "each word sees the words behind it"),
        (small("xlm-roberta", architectures=["XLMRobertaModel"], tie_word_embeddings=True), "sees the words behind"),
        (small("gemma3_text", use_bidirectional_attention=True), "sees the words behind"),
        (
            {"model_type": "paligemma", "text_config": small("gemma"), "vision_config": SEES},
            "sees the words behind",
        ),
        (small("llama", architectures=["LlamaForSequenceClassification"]), "writes no text"),
        (small("qwen3", architectures=["Qwen3ForTokenClassification"], tie_word_embeddings=True), "writes no text"),
        (small("mistral", architectures=["MistralModel"], tie_word_embeddings=False), "without the part that chooses"),
    ],
    ids=lambda each: each if isinstance(each, str) else str(each.get("architectures", each["model_type"])),
)
def test_a_model_of_another_purpose_is_refused(config: dict[str, Any], said: str) -> None:
    from fitune.core.worker.architecture.build import build

    with pytest.raises(UserError, match=said):
        build(config)


@pytest.mark.parametrize(
    "config",
    [
        small("llama", architectures=None),
        small("llama", architectures=["LLaMAForCausalLM"]),
        small("llama", architectures=["LlamaForCausalLM"], is_decoder=False),
        small("qwen3", architectures=["Qwen3Model"], tie_word_embeddings=True),
        small("bert", architectures=["BertLMHeadModel"], is_decoder=True),
        small("gemma3_text", use_bidirectional_attention=False),
        small("gpt_neox", architectures=["GPTNeoXForCausalLM"]),
        {"model_type": "bart", "architectures": ["BartForCausalLM"], "is_encoder_decoder": False, "d_model": 64},
        {**GPT2, "architectures": ["GPT2LMHeadModel"]},
    ],
    ids=lambda config: str(config.get("architectures", config["model_type"])),
)
def test_a_language_model_is_taken(config: dict[str, Any]) -> None:
    from fitune.core.worker.architecture.build import build

    assert build(config).get_output_embeddings() is not None


@pytest.mark.parametrize(
    ("config", "places"),
    [
        (GPT2, 64),
        ({"model_type": "opt", "hidden_size": 64, "ffn_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
          "word_embed_proj_dim": 64, "max_position_embeddings": 48}, 48),
        ({"model_type": "codegen", "n_embd": 64, "n_layer": 1, "n_head": 4, "rotary_dim": 8, "n_positions": 48}, 48),
        (small("llama", max_position_embeddings=48), None),
        (small("llama", max_position_embeddings=96), None),  # as many as a matrix has rows
        ({"model_type": "bloom", "hidden_size": 64, "n_layer": 1, "n_head": 4, "vocab_size": 128}, None),
        ({"model_type": "jamba", **SMALL, "num_experts": 2, "max_position_embeddings": 128}, None),
    ],
    ids=lambda each: each["model_type"] if isinstance(each, dict) else str(each),
)  # fmt: skip
def test_a_table_of_places_is_found(config: dict[str, Any], places: int | None) -> None:
    from fitune.core.worker.architecture.build import build
    from fitune.core.worker.architecture.describe import describe

    assert describe(build(config)).positions == places


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**GPT2, "architectures": ["GPT2LMHeadModel"]}, "has places for 64 tokens"),
        (small("bert", architectures=None), "sees the words behind"),
        ({"model_type": "t5", "d_model": 64, "num_layers": 1}, "two halves"),
    ],
)
def test_the_training_refuses_it_too(
    config: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the parent could not count the model first."""
    from bench.make_model import make_tokenizer
    from fitune.core.worker.training import model_with_adapter

    if "t5" in config["model_type"]:
        (tmp_path / "config.json").write_text(json.dumps(config))
    else:
        from transformers import AutoConfig, AutoModelForCausalLM

        AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).save_pretrained(tmp_path)
        make_tokenizer(tmp_path, {})
    tree = {"model": {"id": str(tmp_path), "quant": "bf16", "max_seq_length": 128}, "data": {"source": "-"},
            "train": {"backend": "trl", "checkpointing": "on"}}  # fmt: skip
    monkeypatch.setattr(model_with_adapter, "compute_dtype", lambda: "float32")
    with pytest.raises(UserError, match=said):
        model_with_adapter.load(parse(tree, "test"), ModelFiles(tmp_path, "tiny", None))
