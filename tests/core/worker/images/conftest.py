"""Tiny models that see, with their processors, made without the Hub; and rows with images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COLOURS = ("red", "green", "blue", "white")
SIZES = ((60, 40), (64, 64), (90, 50))
MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "[IMG]", "[IMG_BREAK]", "[IMG_END]",
    "<|image|>", "<|image>", "<image|>", "<|audio|>", "<|audio>", "<audio|>", "<|video|>",
)  # fmt: skip
SHOWN = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "mistral3": "[IMG]",
    "qwen3_5": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma4": "<|image|>",
}
"""What the chat template of a family writes for an image."""
FEWER = ("qwen2_5_vl", "qwen3_vl", "gemma3", "mistral3")
"""Families for tests that take longer."""
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
TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 16,
}  # fmt: skip
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
QWEN = {"hidden_size": 32, "intermediate_size": 48, "depth": 2, "num_heads": 2, "out_hidden_size": 64}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def template(shown: str) -> str:
    """ChatML in which an image is written so."""
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['content'] is string %}"
        "{{ m['content'] }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}" + shown + "{% else %}"
        "{{ p['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def tokenizer_of(family: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = ["\n\n\n What colour is it? It is red.", "\n\n"] * 4
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(MARKS), initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    extra = NAMED.get(family, {})
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=extra
    )
    made.chat_template = template(SHOWN[family])
    return made


def processor_of(family: str, tokenizer: Any) -> Any:
    import transformers

    chat_template = tokenizer.chat_template
    if family.startswith("qwen"):
        new = family != "qwen2_5_vl"
        kind, videos = (
            (transformers.Qwen3VLProcessor, transformers.Qwen3VLVideoProcessor())
            if new
            else (transformers.Qwen2_5_VLProcessor, transformers.Qwen2VLVideoProcessor())
        )
        images = transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112}, patch_size=16 if new else 14
        )
        return kind(images, tokenizer, videos, chat_template=chat_template)
    if family == "gemma4":
        from transformers.models.gemma4 import Gemma4AudioFeatureExtractor

        heard, images = Gemma4AudioFeatureExtractor(), transformers.Gemma4ImageProcessor()
        videos = transformers.Gemma4VideoProcessor()
        return transformers.Gemma4Processor(heard, images, tokenizer, videos, chat_template=chat_template)
    if family == "gemma3":
        images = transformers.Gemma3ImageProcessor(size={"height": 64, "width": 64})
        return transformers.Gemma3Processor(images, tokenizer, chat_template=chat_template, image_seq_length=4)
    images = transformers.PixtralImageProcessor(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16})
    return transformers.PixtralProcessor(
        images, tokenizer, patch_size=16, spatial_merge_size=2, chat_template=chat_template
    )


def config_of(family: str, tokenizer: Any) -> Any:
    from transformers import AutoConfig

    text: dict[str, Any] = {**TEXT, "vocab_size": len(tokenizer)}
    number = tokenizer.convert_tokens_to_ids
    if family.startswith("qwen"):
        vision = {**QWEN, "patch_size": 16, "deepstack_visual_indexes": [0]} if family == "qwen3_vl" else {
            **QWEN, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]
        }  # fmt: skip
        marks = {
            "image_token_id": number("<|image_pad|>"), "video_token_id": number("<|video_pad|>"),
            "vision_start_token_id": number("<|vision_start|>"), "vision_end_token_id": number("<|vision_end|>"),
        }  # fmt: skip
        if family == "qwen3_5":
            marks["vision_config"] = {**QWEN, "patch_size": 16}
            return AutoConfig.for_model(family, text_config={**text, **LINEAR}, **marks)
        text["rope_parameters"] = ROPE
        return AutoConfig.for_model(family, text_config=text, vision_config=vision, **marks)
    if family == "gemma4":
        layers = {
            "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "global_head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"], "vocab_size_per_layer_input": len(tokenizer),
        }  # fmt: skip
        vision = {**TOWER, "head_dim": 16, "num_key_value_heads": 2, "patch_size": 16, "global_head_dim": 16}
        return AutoConfig.for_model(
            family, text_config={**text, **layers}, vision_config=vision, audio_config=None,
            image_token_id=number("<|image|>"), boi_token_id=number("<|image>"), eoi_token_id=number("<image|>"),
            video_token_id=number("<|video|>"), audio_token_id=number("<|audio|>"),
        )  # fmt: skip
    if family == "gemma3":
        vision = {**TOWER, "image_size": 64, "patch_size": 16}
        return AutoConfig.for_model(
            family, text_config=text, vision_config=vision, mm_tokens_per_image=4,
            boi_token_index=number("<start_of_image>"), eoi_token_index=number("<end_of_image>"),
            image_token_index=number("<image_soft_token>"),
        )  # fmt: skip
    vision = {"model_type": "pixtral", **TOWER, "image_size": 64, "patch_size": 16, "head_dim": 16}
    return AutoConfig.for_model(
        family, text_config={"model_type": "mistral", **text}, vision_config=vision, spatial_merge_size=2,
        image_token_index=number("[IMG]"), vision_feature_layer=-1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a folder with a tiny model of a family that sees, once."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            import torch
            from transformers import AutoModelForImageTextToText

            torch.manual_seed(0)
            tokenizer = tokenizer_of(family)
            folder = tmp_path_factory.mktemp("seeing") / family
            processor_of(family, tokenizer).save_pretrained(folder)
            config = config_of(family, tokenizer)
            AutoModelForImageTextToText.from_config(config, dtype=torch.float32).save_pretrained(folder)
            made[family] = folder
        return made[family]

    return make


@pytest.fixture
def image_rows(tmp_path: Path) -> Path:
    """A file of 24 questions about images of one colour, in three sizes, with the images beside it."""
    from PIL import Image

    (tmp_path / "img").mkdir()
    rows = []
    for number in range(24):
        colour = COLOURS[number % 4]
        Image.new("RGB", SIZES[number % 3], colour).save(tmp_path / "img" / f"{number}.png")
        rows.append({"question": "What colour is it?", "answer": f"It is {colour}.", "image": f"img/{number}.png"})
    path = tmp_path / "colours.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
