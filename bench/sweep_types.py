"""Each model_type of transformers with a class that writes text: is its shape what the class and peft say?

usage: PYTHONPATH=. python bench/sweep_types.py [MODEL_TYPE ...] > bench/results/types_DATE.jsonl
Builds each with its default config on the meta device, counts its parameters and those of an adapter that peft puts on
all its matrices, and compares both with the shape. One JSON line a type: "exact", "differs" with both counts, or
"refused" with the sentence that a user gets. Takes a quarter of an hour on two cores.
"""

import contextlib
import json
import signal
import sys
from collections import Counter
from importlib.metadata import version
from typing import Any

from fitune.core.errors import UserError
from fitune.core.worker.architecture.build import build
from fitune.core.worker.architecture.describe import describe
from fitune.core.worker.architecture.targets import find_targets, short_names

RANK = 16
LIMIT_S = 120
ROPE = {name: {"rope_type": "default", "rope_theta": 10000.0} for name in ("full_attention", "sliding_attention")}
QWEN4: dict[str, Any] = {
    "eos_token_id": 248044, "hc_count": 4, "hc_lowrank": 320, "head_dim": 256, "heads_per_ngram": 8,
    "hidden_size": 2560, "indexer_budget": 2048, "indexer_compress_ratio": 4, "indexer_head_dim": 128,
    "indexer_kv_heads": 1, "indexer_n_heads": 4, "linear_num_value_heads": 48, "moe_intermediate_size": 640,
    "ngram_size": 3, "ngram_vocab_size_base": 20_000_000, "num_attention_heads": 24, "num_experts": 512,
    "num_experts_per_tok": 10, "num_hidden_layers": 48, "num_key_value_heads": 2, "ple_conv_kernel_size": 4,
    "ple_embed_dim": 2560, "ple_layer_ids": [2], "shared_expert_intermediate_size": 640, "vocab_size": 248320,
    "rope_parameters": {
        "mrope_interleaved": True, "mrope_section": [11, 11, 10], "partial_rotary_factor": 0.25,
        "rope_theta": 10_000_000, "rope_type": "default",
    },
}  # fmt: skip
"""The sizes of Qwen3.8-Flash-Next, with its tables for pairs and triples of words."""
NEEDED: dict[str, dict[str, Any]] = {
    "aya_vision": {"vision_config": {"model_type": "siglip_vision_model", "num_attention_heads": 16}},
    "chameleon": {"vocabulary_map": {"<image>": 8711}},
    "cohere_compass": {"text_config": {"rope_parameters": ROPE}},
    "cohere_compass_text": {"rope_parameters": ROPE},
    "dbrx": {"attn_config": {"rope_theta": 5e5, "kv_n_heads": 8, "clip_qkv": 8}},
    "dots1": {"n_routed_experts": 64, "n_shared_experts": 1},
    "emu3": {"vocabulary_map": {"<image>": 1}},
    "granite4_vision": {
        "text_config": {"model_type": "granite"}, "downsample_rate": "4/8", "image_grid_pinpoints": [[384, 384]],
        "deepstack_layer_map": [[5, 0]], "spatial_target_layers": [5],
    },
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl": {"text_config": {"head_dim": 128}},
    "idefics3": {"text_config": {"model_type": "llama", "pad_token_id": 0}},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "qwen4_exp": {"text_config": QWEN4},
    "qwen4_exp_text": QWEN4,
    "reformer": {"is_decoder": True},
    "smolvlm": {"text_config": {"model_type": "llama", "pad_token_id": 0}},
}  # fmt: skip
"""Values that a model_type has no working default for."""


def model_types() -> list[str]:
    """Every model_type with a causal or an image-text class."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    classes = {*AutoModelForCausalLM._model_mapping.keys(), *AutoModelForImageTextToText._model_mapping.keys()}
    return sorted({config.model_type for config in classes})


def compared(model_type: str) -> dict[str, Any]:
    """The counts of one type."""
    try:
        model = build({"model_type": model_type, **NEEDED.get(model_type, {})})
    except UserError as error:
        return {"refused": str(error)}
    params = sum(weight.numel() for weight in model.parameters())
    shape = describe(model)
    lora = sum(RANK * (each.inputs + each.outputs) * times for each, times in shape.matrices if each.adapted)
    found = {"class": type(model).__name__, "params": params, "lora": lora, "layers": len(shape.order)}
    differs = {"params_said": shape.params} if shape.params != params else {}
    try:
        trained = trained_by_peft(model)
    except UserError as error:
        return found | differs | {"refused": str(error)}
    differs |= {"lora_of_peft": trained} if trained != lora else {}
    return found | ({"differs": differs} if differs else {"exact": True})


def trained_by_peft(model: Any) -> int:
    """The number of weights of an adapter on "all-linear", as peft makes it."""
    from peft import LoraConfig, get_peft_model

    names = short_names(model, find_targets(model, "all-linear").modules)
    adapted = get_peft_model(model, LoraConfig(r=RANK, target_modules=names, task_type="CAUSAL_LM"))
    return sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def main(chosen: list[str]) -> None:
    print(json.dumps({"about": f"transformers {version('transformers')}, peft {version('peft')}, default configs"}))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    counts: Counter[str] = Counter()
    for model_type in chosen or model_types():
        signal.alarm(LIMIT_S)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = compared(model_type)
        except Exception as error:  # a fault of fitune, transformers or peft: the sweep is there to find it
            found = {"fault": f"{type(error).__name__}: {error}"[:300]}
        signal.alarm(0)
        counts.update(key for key in ("exact", "differs", "refused", "fault") if key in found)
        print(json.dumps({"model_type": model_type, **found}), flush=True)
    print(dict(counts), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
