"""config.json values of public models of every architecture that core.memory.shapes knows, and what they come to."""

from typing import Any


def _config(model_type: str, hidden: int, layers: int, heads: int, kv: int, wide: int, vocab: int, **more: Any) -> Any:
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": wide,
        "vocab_size": vocab,
        **more,
    }


_QWEN_VISION = {"depth": 32, "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "Llama-3.1-8B": _config("llama", 4096, 32, 32, 8, 14336, 128256),
    "Llama with biases": _config("llama", 512, 4, 8, 2, 1024, 1000, attention_bias=True, mlp_bias=True),
    "Mistral-Nemo-12B": _config("mistral", 5120, 40, 32, 8, 14336, 131072, head_dim=128),
    "Qwen2.5-0.5B": _config("qwen2", 896, 24, 14, 2, 4864, 151936, tie_word_embeddings=True),
    "Qwen3-8B": _config("qwen3", 4096, 36, 32, 8, 12288, 151936, head_dim=128),
    "gemma-7b": _config("gemma", 3072, 28, 16, 16, 24576, 256000),
    "gemma-2-9b": _config("gemma2", 3584, 42, 16, 8, 14336, 256000, sliding_window=4096),
    "gemma-3-1b": _config("gemma3_text", 1152, 26, 4, 1, 6912, 262144, sliding_window=512),
    "Phi-4": _config("phi3", 5120, 40, 40, 10, 17920, 100352),
    "SmolLM3-3B": _config("smollm3", 2048, 36, 16, 4, 11008, 128256),
    "granite-3.3-8b": _config("granite", 4096, 40, 32, 8, 12800, 49159, tie_word_embeddings=True),
    "OLMo-2-7B": _config("olmo2", 4096, 32, 32, 32, 11008, 100352),
    "Olmo-3-7B": _config("olmo3", 4096, 32, 32, 32, 11008, 100278, sliding_window=4096),
    "Mixtral-8x7B": _config("mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2),
    "Qwen3-30B-A3B": _config(
        "qwen3_moe", 2048, 48, 32, 4, 6144, 151936,
        head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768,
    ),
    "Qwen3-MoE with dense layers": _config(
        "qwen3_moe", 256, 6, 8, 4, 512, 1000,
        head_dim=32, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64,
        mlp_only_layers=[0], decoder_sparse_step=2,
    ),
    "gpt-oss-20b": _config(
        "gpt_oss", 2880, 24, 64, 8, 2880, 201088, head_dim=64, num_local_experts=32, num_experts_per_tok=4
    ),
    "gemma-3-4b": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
            "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
        },
    },
    "Qwen2-VL-7B": _config(
        "qwen2_vl", 3584, 28, 28, 4, 18944, 152064,
        tie_word_embeddings=False,
        vision_config={**_QWEN_VISION, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4, "num_heads": 16},
    ),
    "Qwen2.5-VL-7B": {
        "model_type": "qwen2_5_vl",
        "tie_word_embeddings": False,
        "text_config": _config("qwen2_5_vl_text", 3584, 28, 28, 4, 18944, 152064),
        "vision_config": {
            **_QWEN_VISION, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        },
    },
    "Llama-3.2-11B-Vision": {
        "model_type": "mllama",
        "text_config": _config(
            "mllama_text_model", 4096, 40, 32, 8, 14336, 128256, cross_attention_layers=[3, 8, 13, 18, 23, 28, 33, 38]
        ),
        "vision_config": {
            "model_type": "mllama_vision_model", "hidden_size": 1280, "intermediate_size": 5120, "image_size": 560,
            "patch_size": 14, "max_num_tiles": 4, "num_global_layers": 8, "num_hidden_layers": 32,
            "attention_heads": 16, "vision_output_dim": 7680, "num_channels": 3,
        },
    },
}  # fmt: skip
PARAMS = {
    "Llama-3.1-8B": 8_030_261_248,
    "Llama with biases": 9_956_864,
    "Mistral-Nemo-12B": 12_247_782_400,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen3-8B": 8_190_735_360,
    "gemma-7b": 8_537_680_896,
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-1b": 999_885_952,
    "Phi-4": 14_659_507_200,
    "SmolLM3-3B": 3_075_098_624,
    "granite-3.3-8b": 8_170_864_640,
    "OLMo-2-7B": 7_298_617_344,
    "Olmo-3-7B": 7_298_011_136,
    "Mixtral-8x7B": 46_702_792_704,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Qwen3-MoE with dense layers": 4_060_800,
    "gpt-oss-20b": 20_914_757_184,
    "gemma-3-4b": 4_300_079_472,
    "Qwen2-VL-7B": 8_291_375_616,
    "Qwen2.5-VL-7B": 8_292_166_656,
    "Llama-3.2-11B-Vision": 10_670_220_835,
}
"""Counted by transformers 5.17 on the meta device, a tied head once (test_shapes.py does it again when asked)."""
