"""The loss of adapters on rows that none of them was trained on: of a token of the answers, and of any token.

usage: python bench/held_out.py MODELDIR CHATS.jsonl LIST.json
LIST.json: {"name": "adapter's folder", ...}; it may come later, so that the model is loaded, and looked at without an
adapter, while adapters are trained. The model is taken in bf16 whatever an adapter was trained on. Prints one JSON line
an adapter, and one without any.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

WAIT_S = 600.0
AT_ONCE = 16
"""Rows of a forward pass; those of about one length go together."""


def main() -> None:
    model_dir, chats, listed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    rows = [tokens_of(tokenizer, json.loads(line)["messages"]) for line in chats.read_text().splitlines()]
    place = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).to(place)
    tell("without an adapter", losses(model, rows, place))
    end = time.monotonic() + WAIT_S
    while not listed.exists() and time.monotonic() < end:
        time.sleep(0.1)
    for number, (name, folder) in enumerate(json.loads(listed.read_text()).items()):
        try:
            model = with_adapter(model, folder, f"adapter{number}")
            tell(name, losses(model, rows, place))
        except Exception as error:  # an adapter that can't be loaded is a finding, and the others go on
            tell(name, {"failed": f"{type(error).__name__}: {error}"[:300]})


def with_adapter(model: Any, folder: str, name: str) -> Any:
    """The model with an adapter in place of any other."""
    if not isinstance(model, PeftModel):
        return PeftModel.from_pretrained(model, folder, adapter_name=name)
    model.load_adapter(folder, adapter_name=name)
    model.set_adapter(name)
    return model


def tokens_of(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], int]:
    """A chat in tokens, and how many of them come before its last answer."""
    whole: str = tokenizer.apply_chat_template(messages, tokenize=False)
    before: str = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    if not whole.startswith(before):
        raise ValueError("the chat template writes a question otherwise once it is answered")
    asked, answer = (tokenizer(text, add_special_tokens=False).input_ids for text in (before, whole[len(before) :]))
    return [*asked, *answer], len(asked)


@torch.no_grad()
def losses(model: Any, rows: list[tuple[list[int], int]], place: str) -> dict[str, float]:
    """Mean loss of the answers' tokens and of all tokens."""
    model.eval()
    answers, whole = [], []
    ordered = sorted(rows, key=lambda row: len(row[0]))
    for first in range(0, len(ordered), AT_ONCE):
        batch = ordered[first : first + AT_ONCE]
        tokens = pad_sequence([torch.tensor(ids) for ids, _ in batch], batch_first=True).to(place)
        mask = pad_sequence([torch.ones(len(ids), dtype=torch.long) for ids, _ in batch], batch_first=True).to(place)
        logits = model(input_ids=tokens, attention_mask=mask).logits
        for row, (ids, asked) in enumerate(batch):
            scores, words = logits[row, : len(ids) - 1].float(), tokens[row, 1 : len(ids)]
            each = torch.nn.functional.cross_entropy(scores, words, reduction="none")
            whole.append(each)
            answers.append(each[asked - 1 :])
    return {"answers": torch.cat(answers).mean().item(), "all": torch.cat(whole).mean().item(), "rows": len(rows)}


def tell(name: str, found: dict[str, Any]) -> None:
    print(json.dumps({"held_out": name, **found}), flush=True)


if __name__ == "__main__":
    main()
