"""One question from the user's own data, answered by the model without and with its adapter."""

from typing import Any

import torch

ANSWER_TOKENS = 160


def before_and_after(model: Any, tokenizer: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Greedy answers to the row's first question: {prompt, before, after, reference, stops}.

    The base model is the same model with its adapter switched off. `stops`: whether the tuned answer ended by itself.
    """
    prompt, shown, reference = _question(row, tokenizer)
    training = model.training
    model.eval()
    with model.disable_adapter():
        before, _ = answer(model, tokenizer, prompt)
    after, stops = answer(model, tokenizer, prompt)
    model.train(training)
    return {"prompt": shown, "before": before, "after": after, "reference": reference, "stops": stops}


@torch.inference_mode()
def answer(model: Any, tokenizer: Any, prompt: str) -> tuple[str, bool]:
    """The model's greedy continuation of a rendered prompt, and whether it ended by itself."""
    coded = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
    written = model.generate(
        **coded,
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        use_cache=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
    )[0][coded["input_ids"].shape[1] :]
    stops = bool((written == tokenizer.eos_token_id).any())
    return tokenizer.decode(written, skip_special_tokens=True).strip(), stops


def _question(row: dict[str, Any], tokenizer: Any) -> tuple[str, str, str]:
    """(the prompt as the model sees it, as a person would, the answer in the data)"""
    if "messages" in row:
        turns = row["messages"]
        first = next((n for n, turn in enumerate(turns) if turn["role"] == "assistant"), len(turns))
        prompt = tokenizer.apply_chat_template(turns[:first], tokenize=False, add_generation_prompt=True)
        asked = turns[first - 1]["content"] if first else ""
        return str(prompt), asked, turns[first]["content"] if first < len(turns) else ""
    if "prompt" in row:
        return row["prompt"], row["prompt"], row["completion"]
    words = row["text"].split()
    start = " ".join(words[: max(1, len(words) // 4)][:60])
    return start, start, row["text"][len(start) :].strip()
