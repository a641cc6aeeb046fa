"""Micro-batches by tokens: the rows that the trainer has put together are split again, so that no micro-batch is large.

Where rows are of very different lengths, a fixed number of them makes some micro-batches many times as large as others,
and the card must have room for the largest. Here a step's rows go through the model in micro-batches of at most
train.micro_tokens. Each divides its loss by the trained tokens of the whole step, so their gradients add up to that of
the step in one piece.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fitune.core.tokens import split_rows

Inputs = dict[str, Any]
FILLER = {"labels": -100}
"""The value that a micro-batch is filled up with, where it is not 0: no loss is computed there."""


def split_steps(trainer: Any, most_tokens: int) -> None:
    """Make a trainer split each batch that it takes into micro-batches of at most `most_tokens`."""
    whole = trainer.training_step

    def in_micro_batches(model: Any, inputs: Inputs, trained_tokens: Any = None) -> Tensor:
        """The loss of the batch. trained_tokens: those of the step, by which each loss is divided."""
        if trained_tokens is None:  # the model returns a mean of its own, and means do not add up
            result: Tensor = whole(model, inputs)
            return result
        fill_to = getattr(trainer.data_collator, "pad_to_multiple_of", None) or 1
        parts = micro_batches(inputs, most_tokens, fill_to)
        return torch.stack([whole(model, part, trained_tokens) for part in parts]).sum()

    trainer.training_step = in_micro_batches


def micro_batches(inputs: Inputs, most_tokens: int, fill_to: int = 1) -> list[Inputs]:
    """Split a batch, of padded rows or of rows laid end to end, into micro-batches of at most `most_tokens`.

    fill_to: rows laid end to end are filled up to a multiple of this many tokens.
    """
    if "packed_seq_lengths" in inputs:
        lengths = inputs["packed_seq_lengths"].tolist()
        return [_laid_out(inputs, lengths, rows, fill_to) for rows in _in_order(split_rows(lengths, most_tokens))]
    lengths = inputs["attention_mask"].sum(1).tolist()
    return [_padded(inputs, lengths, rows) for rows in _in_order(split_rows(lengths, most_tokens, padded=True))]


def _in_order(parts: list[list[int]]) -> list[list[int]]:
    return [sorted(rows) for rows in parts]


def _laid_out(inputs: Inputs, lengths: Sequence[int], rows: Sequence[int], fill_to: int) -> Inputs:
    """The micro-batch of these rows, end to end. Its tensors are 1 x tokens."""
    ends = list(accumulate(lengths))
    pieces = [slice(ends[row] - lengths[row], ends[row]) for row in rows]
    missing = -sum(lengths[row] for row in rows) % fill_to

    def laid_out(name: str, value: Tensor) -> Tensor:
        return pad(torch.cat([value[:, piece] for piece in pieces], 1), (0, missing), value=FILLER.get(name, 0))

    counts = inputs["packed_seq_lengths"]
    others = {name: value for name, value in inputs.items() if name != "packed_seq_lengths"}
    return {**_changed(others, laid_out), "packed_seq_lengths": counts[torch.tensor(rows, device=counts.device)]}


def _padded(inputs: Inputs, lengths: Sequence[int], rows: Sequence[int]) -> Inputs:
    """The micro-batch of these rows, filled up to the longest of them at their right. Its tensors are rows x tokens."""
    longest = max(lengths[row] for row in rows)
    return _changed(inputs, lambda _, value: value[list(rows), :longest])


def _changed(inputs: Mapping[str, Any], change: Any) -> Inputs:
    return {name: change(name, value) if isinstance(value, Tensor) else value for name, value in inputs.items()}
