"""Models that see, with random weights and processors made without the Hub: tiny ones, or few layers of real widths.

usage: python bench/seeing_models.py FAMILY FOLDER [--tiny]
FAMILY is one of those below; the widths are those of the model named beside it. Weights are made on the GPU if there is
one. The tokenizer has some hundred tokens: bytes, and the marks that the families write for images.
"""

import json
import sys
from pathlib import Path
from typing import Any

Values = dict[str, Any]
MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "[IMG]", "[IMG_BREAK]", "[IMG_END]",
    "<|image|>", "<|image>", "<image|>", "<|audio|>", "<|audio>", "<audio|>", "<|video|>",
)  # fmt: skip
TILES = (
    "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)  # fmt: skip
MARKS_OF = {"idefics3": TILES}
"""Marks that only one family has."""
SHOWN = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "mistral3": "[IMG]",
    "qwen3_5": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma4": "<|image|>",
    "idefics3": "<image>",
}
"""What the chat template of a family writes for an image."""
NAMED = {
    "gemma3": {
        "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
    },
    "gemma4": {
        "boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>",
        "boa_token": "<|audio>", "eoa_token": "<audio|>", "audio_token": "<|audio|>",
    },
}  # fmt: skip
"""Tokens that a family's processor asks its tokenizer for by name."""
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
TINY_TEXT: Values = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
TINY_TOWER: Values = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY_QWEN: Values = {"hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 2, "out_hidden_size": 64}
TINY_LINEAR: Values = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16,
}  # fmt: skip
TINY: dict[str, tuple[Values, Values]] = {
    "qwen2_5_vl": (
        {**TINY_TEXT, "rope_parameters": {**ROPE, "mrope_section": [2, 3, 3]}},
        {**TINY_QWEN, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]},
    ),
    "qwen3_vl": (
        {**TINY_TEXT, "rope_parameters": {**ROPE, "mrope_section": [2, 3, 3]}},
        {**TINY_QWEN, "patch_size": 16, "deepstack_visual_indexes": [0]},
    ),
    "qwen3_5": ({**TINY_TEXT, **TINY_LINEAR}, {**TINY_QWEN, "patch_size": 16}),
    "gemma3": (TINY_TEXT, {**TINY_TOWER, "image_size": 64, "patch_size": 16}),
    "gemma4": (
        {
            **TINY_TEXT, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "global_head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        {**TINY_TOWER, "head_dim": 16, "num_key_value_heads": 2, "patch_size": 16, "global_head_dim": 16},
    ),
    "mistral3": (
        {"model_type": "mistral", **TINY_TEXT},
        {"model_type": "pixtral", **TINY_TOWER, "image_size": 64, "patch_size": 16, "head_dim": 16},
    ),
    "idefics3": ({"model_type": "llama", **TINY_TEXT}, {**TINY_TOWER, "image_size": 64, "patch_size": 16}),
}  # fmt: skip
"""The settings of text model and tower."""
REAL: dict[str, tuple[Values, Values]] = {
    "qwen2_5_vl": (  # Qwen2.5-VL 7B
        {
            "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 4, "num_attention_heads": 28,
            "num_key_value_heads": 4, "vocab_size": 152_064,
            "rope_parameters": {**ROPE, "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        {
            "hidden_size": 1280, "intermediate_size": 3420, "depth": 4, "num_heads": 16, "out_hidden_size": 3584,
            "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [1, 3],
        },
    ),
    "qwen3_vl": (  # Qwen3-VL 4B
        {
            "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 8, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "tie_word_embeddings": True,
            "rope_parameters": {**ROPE, "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True},
        },
        {
            "hidden_size": 1024, "intermediate_size": 4096, "depth": 6, "num_heads": 16, "out_hidden_size": 2560,
            "patch_size": 16, "deepstack_visual_indexes": [1, 3, 5],
        },
    ),
    "gemma3": (  # Gemma 3 4B
        {
            "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 6, "num_attention_heads": 8,
            "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208,
        },
        {
            "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 6, "num_attention_heads": 16,
            "image_size": 896, "patch_size": 14,
        },
    ),
    "mistral3": (  # Ministral 3 8B
        {
            "model_type": "ministral3", "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 4,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131_072,
            "tie_word_embeddings": False,
        },
        {
            "model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4,
            "num_attention_heads": 16, "head_dim": 64, "image_size": 1540, "patch_size": 14,
        },
    ),
    "idefics3": (  # SmolVLM 2.2B
        {
            "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 8,
            "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 64, "vocab_size": 49_280,
        },
        {
            "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 6, "num_attention_heads": 16,
            "image_size": 384, "patch_size": 14,
        },
    ),
}  # fmt: skip
"""The same: real widths, few layers."""


def main() -> None:
    family, folder = sys.argv[1], Path(sys.argv[2])
    print(json.dumps({"made": family, "parameters": make(family, folder, "--tiny" in sys.argv)}), flush=True)


def make(family: str, folder: Path, tiny: bool) -> int:
    """Write a model of a family with its processor to `folder`; its number of weights. A tiny one is always the same,
    in 32 bits, the others are in 16."""
    import torch
    from transformers import AutoModelForImageTextToText

    tokenizer = tokenizer_of(family)
    processor_of(family, tokenizer, tiny).save_pretrained(folder)
    config = config_of(family, tokenizer, tiny)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() and not tiny else "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32 if tiny else torch.bfloat16)
    model.save_pretrained(folder)
    return sum(each.numel() for each in model.parameters())


def template(shown: str) -> str:
    """ChatML in which an image is written so."""
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['content'] is string %}"
        "{{ m['content'] }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}" + shown + "{% else %}"
        "{{ p['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def tokenizer_of(family: str) -> Any:
    """A tokenizer of bytes, a few words and the family's marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = ["\n\n\n What colour is it? It is red.", "\n\n"] * 4
    marks = [*MARKS, *MARKS_OF.get(family, ())]
    trainer = trainers.BpeTrainer(
        vocab_size=300 + len(marks), special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    extra = NAMED.get(family, {})
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=extra
    )
    made.chat_template = template(SHOWN[family])
    return made


def processor_of(family: str, tokenizer: Any, tiny: bool) -> Any:
    """The family's processor; a real one with transformers' own settings, unless those are of an older model."""
    import transformers

    chat_template = tokenizer.chat_template
    if family.startswith("qwen"):
        new = family != "qwen2_5_vl"
        kind, videos = (
            (transformers.Qwen3VLProcessor, transformers.Qwen3VLVideoProcessor())
            if new
            else (transformers.Qwen2_5_VLProcessor, transformers.Qwen2VLVideoProcessor())
        )
        size = {"size": {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}} if tiny else {}
        images = transformers.Qwen2VLImageProcessor(**size, patch_size=16 if new else 14)
        return kind(images, tokenizer, videos, chat_template=chat_template)
    if family == "gemma4":
        from transformers.models.gemma4 import Gemma4AudioFeatureExtractor

        heard, images = Gemma4AudioFeatureExtractor(), transformers.Gemma4ImageProcessor()
        videos = transformers.Gemma4VideoProcessor()
        return transformers.Gemma4Processor(heard, images, tokenizer, videos, chat_template=chat_template)
    if family == "gemma3":
        edge, tokens = (64, 4) if tiny else (896, 256)
        images = transformers.Gemma3ImageProcessor(size={"height": edge, "width": edge})
        return transformers.Gemma3Processor(images, tokenizer, chat_template=chat_template, image_seq_length=tokens)
    if family == "idefics3":
        edge, largest, tokens = (64, 128, 4) if tiny else (384, 1536, 81)
        images = transformers.Idefics3ImageProcessor(
            size={"longest_edge": largest}, max_image_size={"longest_edge": edge}
        )
        return transformers.Idefics3Processor(images, tokenizer, image_seq_len=tokens, chat_template=chat_template)
    edge, patch = (64, 16) if tiny else (1540, 14)
    images = transformers.PixtralImageProcessor(
        size={"longest_edge": edge}, patch_size={"height": patch, "width": patch}
    )
    return transformers.PixtralProcessor(
        images, tokenizer, patch_size=patch, spatial_merge_size=2, chat_template=chat_template
    )


def sizes_of(family: str) -> Values:
    """What a config.json of the real widths says of the family's sizes."""
    text, vision = REAL[family]
    tied = {"tie_word_embeddings": text["tie_word_embeddings"]} if "tie_word_embeddings" in text else {}
    return {"model_type": family, "text_config": text, "vision_config": vision, **tied}


def config_of(family: str, tokenizer: Any, tiny: bool) -> Any:
    """The family's configuration, with the numbers of the tokenizer's marks."""
    from transformers import AutoConfig

    text, vision = (TINY if tiny else REAL)[family]
    number = tokenizer.convert_tokens_to_ids
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = {**special, "vocab_size": len(tokenizer), **text}
    named: Values = {}
    if family.startswith("qwen"):
        named = {
            "image_token_id": number("<|image_pad|>"), "video_token_id": number("<|video_pad|>"),
            "vision_start_token_id": number("<|vision_start|>"), "vision_end_token_id": number("<|vision_end|>"),
        }  # fmt: skip
    elif family == "gemma4":
        text["vocab_size_per_layer_input"] = text["vocab_size"]
        named = {
            "audio_config": None, "image_token_id": number("<|image|>"), "boi_token_id": number("<|image>"),
            "eoi_token_id": number("<image|>"), "video_token_id": number("<|video|>"),
            "audio_token_id": number("<|audio|>"),
        }  # fmt: skip
    elif family == "gemma3":
        named = {
            "mm_tokens_per_image": 4 if tiny else 256, "boi_token_index": number("<start_of_image>"),
            "eoi_token_index": number("<end_of_image>"), "image_token_index": number("<image_soft_token>"),
        }  # fmt: skip
    elif family == "idefics3":
        named = {"image_token_id": number("<image>"), "scale_factor": 2 if tiny else 3, "pad_token_id": 0}
    else:
        named = {"spatial_merge_size": 2, "image_token_index": number("[IMG]"), "vision_feature_layer": -1}
    if "tie_word_embeddings" in text:
        named["tie_word_embeddings"] = text["tie_word_embeddings"]
    return AutoConfig.for_model(family, text_config=text, vision_config=vision, **named)


if __name__ == "__main__":
    main()
