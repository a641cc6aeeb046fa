"""The stop tokens: the end mark that the model was trained to write, and all others that end an answer."""

import json
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from fitune.core.worker.chats.template import PromptOptions, read

EXAMPLE_CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]


def end_of_answer(tokenizer: Any, options: PromptOptions) -> int | None:
    """The token that ends an answer in the tokenizer's chat template; without one its end of text.

    A template that refuses the example, such as one that is for chats with functions alone, is taken to have none.
    """
    if tokenizer.chat_template:
        template = read(tokenizer, options)
        try:
            text = template.text(EXAMPLE_CHAT, None).removesuffix(template.usual.next_prompt).rstrip()
        except TemplateError:
            text = ""
        last: int | None = next(reversed(tokenizer(text, add_special_tokens=False)["input_ids"]), None)
        token = tokenizer.added_tokens_decoder.get(last)
        if token is not None and token.special:
            return last
    return None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)


def stop_ids(tokenizer: Any, base: Path, options: PromptOptions) -> list[int]:
    """All stop tokens: those of the base's generation_config.json or config.json, and the trained end of an answer.

    options: of the run's recipe.
    """
    trained = {tokenizer.eos_token_id, end_of_answer(tokenizer, options)} - {None}
    return sorted(eos_ids(base) | trained)


def eos_ids(folder: Path) -> set[int]:
    """The end-of-text tokens in a model folder's settings, read as transformers does."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        # Not orjson: the settings of Mamba and its kin hold Infinity.
        ids = json.loads(path.read_bytes()).get("eos_token_id") if path.is_file() else None
        if ids is not None:
            return set(ids) if isinstance(ids, list) else {ids}
    return set()
