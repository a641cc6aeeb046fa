"""What ends an answer: the mark that the model was trained to write, and all that a program must stop at."""

import json
from pathlib import Path
from typing import Any

ASKED = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]


def end_of_answer(tokenizer: Any) -> int | None:
    """The token that ends an answer in the tokenizer's chat template; without such a mark its end of text."""
    if tokenizer.chat_template:
        text = str(tokenizer.apply_chat_template(ASKED, tokenize=False)).rstrip()
        last = int(tokenizer(text, add_special_tokens=False)["input_ids"][-1])
        token = tokenizer.added_tokens_decoder.get(last)
        if token is not None and token.special:
            return last
    return None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)


def stop_ids(tokenizer: Any, base: Path) -> list[int]:
    """The tokens to stop at: those of the base's generation_config.json or config.json, and those trained to write."""
    trained = {tokenizer.eos_token_id, end_of_answer(tokenizer)} - {None}
    return sorted(eos_ids(base) | trained)


def eos_ids(folder: Path) -> set[int]:
    """The end-of-text tokens a model folder names, where transformers looks for them."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        # Not orjson: the settings of Mamba and its kin hold Infinity.
        told = json.loads(path.read_bytes()).get("eos_token_id") if path.is_file() else None
        if told is not None:
            return set(told) if isinstance(told, list) else {told}
    return set()
