"""Build a random-weight checkpoint with the shape of a known model: memory and speed are those of the real one.

usage: python bench/make_model.py MODEL_ID OUTDIR [LAYERS]     e.g. meta-llama/Llama-3.1-8B-Instruct
       python bench/make_model.py MODEL_ID OUTDIR --nf4        stored in 4 bits: one layer's weights serve all layers
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from core.shapes import shipped

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def make_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of a few hundred tokens: any text encodes, about one token a byte or two."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 50, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>", model_max_length=131072
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def config_of(model_id: str, layers: int | None = None) -> Any:
    """The model's configuration, with the made-up tokenizer's marks and room for long rows."""
    values: dict[str, Any] = dict(shipped()[model_id.lower()])
    if layers:
        values["num_hidden_layers"] = layers
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    config.update({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "max_position_embeddings": 131072})
    return config


def make(model_id: str, folder: Path, layers: int | None = None) -> None:
    """Write config, random bf16 weights and a tokenizer to `folder`; made on the GPU if there is one."""
    config = config_of(model_id, layers)
    began = time.monotonic()
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="4GB")
    make_tokenizer(folder)
    parameters = sum(each.numel() for each in model.parameters())
    print(json.dumps({"made": model_id, "parameters": parameters, "s": round(time.monotonic() - began, 1)}), flush=True)


def make_nf4(model_id: str, folder: Path) -> None:
    """The same in 4 bits with double quantization, as repositories named -bnb-4bit are; needs a GPU."""
    import bitsandbytes  # noqa: F401
    from safetensors.torch import load_file, save_file
    from transformers import BitsAndBytesConfig

    one = folder.with_name(folder.name + ".one")
    make(model_id, one, layers=1)
    wanted = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )
    small = AutoModelForCausalLM.from_pretrained(one, quantization_config=wanted, device_map={"": 0})
    small.save_pretrained(one / "nf4")
    folder.mkdir(parents=True)
    config = config_of(model_id)
    config.update({"dtype": "bfloat16", "architectures": small.config.architectures})
    config.quantization_config = small.config.quantization_config
    config.save_pretrained(folder)
    make_tokenizer(folder)
    tensors = load_file(one / "nf4" / "model.safetensors")
    layer = {name: value for name, value in tensors.items() if ".layers.0." in name}
    weight_map = {}
    for index in range(config.num_hidden_layers):
        part = {name.replace(".layers.0.", f".layers.{index}."): value for name, value in layer.items()}
        part |= {name: value for name, value in tensors.items() if name not in layer} if index == 0 else {}
        save_file(part, folder / f"model-{index}.safetensors", {"format": "pt"})
        weight_map |= dict.fromkeys(part, f"model-{index}.safetensors")
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    shutil.rmtree(one)


if __name__ == "__main__":
    if sys.argv[3:] == ["--nf4"]:
        make_nf4(sys.argv[1], Path(sys.argv[2]))
        sys.exit()
    make(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
