"""Answers of many questions at once: greedy, padded on the left, sorted by length."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch


def answers(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], stops: list[int], max_tokens: int, batch_rows: int
) -> list[str]:
    """The answer to each prompt, in order. max_tokens: of an answer; batch_rows: prompts at once."""
    written = [""] * len(prompts)
    for places in batches([len(prompt) for prompt in prompts], batch_rows):
        out = _generate(model, [prompts[place] for place in places], stops, max_tokens)
        for place, ids in zip(places, out, strict=True):
            written[place] = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
    return written


def rows_that_fit(model: Any, tokens: int) -> int:
    """Rows whose keys and values find room in half of the card's free memory. tokens: of a question and its answer."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    free, _ = torch.cuda.mem_get_info()
    return int(free // 2 // (2 * 2 * config.num_hidden_layers * width * max(1, tokens)))


def batches(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """The places of the items in batches of `rows`, the longest first, so that little is padding."""
    by_length = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    for start in range(0, len(by_length), rows):
        yield by_length[start : start + rows]


@torch.inference_mode()
def _generate(model: Any, prompts: Sequence[list[int]], stops: list[int], max_tokens: int) -> list[list[int]]:
    """The tokens of each answer, up to its stop token. A batch too large for the memory is halved."""
    pad = stops[0] if stops else 0
    ids, mask = padded_left(prompts, pad, model.device)
    try:
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=pad,
            use_cache=True,
        )
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise
        out = None
    if out is None:  # outside of the handler, whose error keeps the batch in memory
        torch.cuda.empty_cache()
        half = len(prompts) // 2
        return [each for part in (prompts[:half], prompts[half:]) for each in _generate(model, part, stops, max_tokens)]
    return [_until_stop(row, stops) for row in out[:, ids.shape[1] :].tolist()]


def padded_left(rows: Sequence[list[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids as one tensor, padded on the left, and its attention mask: both [rows, tokens]."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _until_stop(ids: list[int], stops: list[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]
