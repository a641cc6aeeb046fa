"""Answers of many questions at once: greedy, padded on the left, sorted by length."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from fitune.core.worker.images.look import Look

T = TypeVar("T")
Found = TypeVar("Found")
FEW_ROWS = 8
"""So many answers are written to the end together: a step costs about the same for any of them."""


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    stops: list[int],
    max_tokens: int,
    batch_rows: int,
    look: Look | None = None,
) -> list[str]:
    """The answer to each prompt, in order. max_tokens: of an answer; batch_rows: prompts at once. look: at the images
    of the prompts."""
    written = [""] * len(prompts)
    for places in batches([len(prompt) for prompt in prompts], batch_rows):
        out = in_parts_that_fit(lambda part: _generate(model, prompts, part, stops, max_tokens, look), places)
        for place, ids in zip(places, out, strict=True):
            written[place] = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
    return written


def rows_that_fit(model: Any, tokens: int) -> int:
    """Rows whose keys and values find room in half of the card's free memory, at least 1. tokens: of a question and its
    answer."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    row_bytes = 2 * 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * width
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return max(1, int(free // 2 // (row_bytes * max(1, tokens))))


def in_parts_that_fit(compute: Callable[[Sequence[T]], list[Found]], items: Sequence[T]) -> list[Found]:
    """What `compute` gives for all items; by halves where they are too many at once for the card's memory. Raises
    OutOfMemoryError if one is too many."""
    try:
        return compute(items)
    except torch.OutOfMemoryError:
        if len(items) == 1:
            raise
    torch.cuda.empty_cache()  # outside of the handler, whose error keeps the batch in memory
    half = len(items) // 2
    return [*in_parts_that_fit(compute, items[:half]), *in_parts_that_fit(compute, items[half:])]


def batches(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """The places of the items in batches of `rows`, the longest first, so that little is padding."""
    by_length = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    for start in range(0, len(by_length), rows):
        yield by_length[start : start + rows]


def _generate(
    model: Any,
    prompts: Sequence[list[int]],
    places: Sequence[int],
    stops: list[int],
    max_tokens: int,
    look: Look | None,
) -> list[list[int]]:
    """The tokens of each answer to the prompts at these places, up to its stop token.

    Whenever half of the answers have ended the others are written on without them: a step costs less then, and they
    are often few that don't end before max_tokens. Reading those once more costs at most what all have cost at first.
    """
    written = dict[int, list[int]]((place, []) for place in places)
    going = list(places)
    while going:
        asked = [prompts[place] + written[place] for place in going]
        out = _write_on(model, asked, going, stops, max_tokens, look)
        max_tokens -= len(out[0])
        for place, ids in zip(going, out, strict=True):
            written[place] += ids
        going = [place for place in going if max_tokens and written[place][-1] not in stops]
    return [_until_stop(written[place], stops) for place in places]


@torch.inference_mode()
def _write_on(
    model: Any,
    asked: Sequence[list[int]],
    places: Sequence[int],
    stops: list[int],
    max_tokens: int,
    look: Look | None,
) -> list[list[int]]:
    """The tokens that follow, until half of many answers have ended; those behind a stop token are stop tokens too."""
    pad = stops[0] if stops else 0
    ids, mask = padded_left(asked, pad, model.device)
    # An answer may hold a token that marks an image, of which there is none when the answer is read once more.
    may_end_early = len(asked) > FEW_ROWS and look is None
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=pad,
        use_cache=True,
        **({"stopping_criteria": [HalfEnded(stops, model.device)]} if may_end_early else {}),
        **(look(places, ids) if look else {}),
    )
    return list(out[:, ids.shape[1] :].tolist())


class HalfEnded:
    """Ends the writing of many answers when half of them have ended: a stopping criterion of transformers."""

    def __init__(self, stops: list[int], device: Any) -> None:
        self.stops = torch.tensor(stops, dtype=torch.long, device=device)
        self._ended: torch.Tensor | None = None

    def __call__(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        ends = torch.isin(ids[:, -1], self.stops)
        self._ended = ends if self._ended is None else self._ended | ends
        return (2 * self._ended.sum() >= len(ids)).expand(len(ids))


def padded_left(rows: Sequence[list[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids as one tensor, padded on the left, and its attention mask: both [rows, tokens]."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _until_stop(ids: list[int], stops: list[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]
