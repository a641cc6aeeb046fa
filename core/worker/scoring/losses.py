"""The loss of each row's answer, and the likeliest of several answers to a question."""

from collections.abc import Sequence
from typing import Any

import torch

from fitune.core.worker.images.look import Look, look_at
from fitune.core.worker.images.processor import ImageProcessor
from fitune.core.worker.scoring.generate import batches, in_parts_that_fit, padded_left
from fitune.core.worker.scoring.rows import ScoredRow

LOGITS_BYTES, LOGITS_SHARE = 256 << 20, 16
"""Logits of one batch, fp32, at most; on a card with more memory free a part of that."""


def losses(model: Any, rows: Sequence[ScoredRow], batch_rows: int, images: ImageProcessor | None = None) -> list[float]:
    """The mean loss of the tokens of each row's answer, in nats. images: of a model that sees."""
    look = look_at(images, [row.images for row in rows])
    summed = log_likelihoods(model, [(row.ids, row.first) for row in rows], batch_rows, look)
    return [-each / row.tokens for each, row in zip(summed, rows, strict=True)]


def exchanged_losses(
    model: Any, rows: Sequence[ScoredRow], batch_rows: int, most_tokens: int, images: ImageProcessor | None = None
) -> list[float | None]:
    """The mean loss of each row's answer below the question of the row before it; None where both questions are the
    same, or the row would have more than `most_tokens` tokens."""
    questions = [(row.ids[: row.first], row.images) for row in (*rows[-1:], *rows[:-1])]
    asked = {
        place: (question + row.ids[row.first :], len(question))
        for place, ((question, seen), row) in enumerate(zip(questions, rows, strict=True))
        if (question, seen) != (row.ids[: row.first], row.images) and len(question) + row.tokens <= most_tokens
    }
    look = look_at(images, [rows[place - 1].images for place in asked])
    summed = dict(zip(asked, log_likelihoods(model, list(asked.values()), batch_rows, look), strict=True))
    return [-summed[place] / row.tokens if place in summed else None for place, row in enumerate(rows)]


def likeliest(
    model: Any,
    rows: Sequence[ScoredRow],
    answers: Sequence[list[int]],
    batch_rows: int,
    images: ImageProcessor | None = None,
) -> list[int]:
    """The place of each row's likeliest answer, by its log-likelihood a token. answers: tokens, with the end of an
    answer."""
    asked = [(row.ids[: row.first] + answer, row.first) for row in rows for answer in answers]
    look = look_at(images, [row.images for row in rows for _ in answers])
    summed = iter(log_likelihoods(model, asked, batch_rows, look))
    means = ([next(summed) / len(answer) for answer in answers] for _ in rows)
    return [each.index(max(each)) for each in means]


def log_likelihoods(
    model: Any, rows: Sequence[tuple[list[int], int]], batch_rows: int, look: Look | None = None
) -> list[float]:
    """The summed log-likelihood of the tokens from a position on, of each (token ids, position). look: at the images of
    the rows."""
    found = [0.0] * len(rows)
    vocabulary = model.config.get_text_config().vocab_size
    longest = max((len(ids) - first for ids, first in rows), default=1)
    room = LOGITS_BYTES
    if torch.cuda.is_available():
        room = max(room, torch.cuda.mem_get_info()[0] // LOGITS_SHARE)
    fitting = max(1, min(batch_rows, room // (4 * vocabulary * (longest + 1))))
    for places in batches([len(ids) for ids, _ in rows], fitting):
        values = in_parts_that_fit(lambda part: _batch(model, [rows[place] for place in part], part, look), places)
        for place, value in zip(places, values, strict=True):
            found[place] = value
    return found


@torch.inference_mode()
def _batch(model: Any, rows: Sequence[tuple[list[int], int]], places: Sequence[int], look: Look | None) -> list[float]:
    """Padding on the left puts all answers at the end, so that logits are needed of a few positions only. places: of
    the rows among all; with images a model counts positions by itself, along both sides of an image."""
    ids, mask = padded_left([ids for ids, _ in rows], 0, model.device)
    kept = max(len(ids) - first for ids, first in rows)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        **(look(places, ids) if look else {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}),
        logits_to_keep=kept + 1,
        use_cache=False,
    ).logits[:, -kept - 1 : -1]
    targets = ids[:, -kept:]
    found = []
    for row, (tokens, first) in enumerate(rows):
        count = len(tokens) - first
        likelihood = torch.log_softmax(logits[row, kept - count :].float(), -1)
        found.append(float(likelihood.gather(1, targets[row, kept - count :, None]).sum()))
    return found
