"""A micro-batch in several smaller passes: whole rows each, whose losses add up to that of the whole."""

import gc
from collections.abc import Mapping
from typing import Any

import torch

from fitune.core.worker.rows.micro_batches import Inputs, micro_batches


def split(inputs: Inputs, most_tokens: int, fill_to: int) -> list[Inputs]:
    """Passes of at most so many tokens; a single row stays whole. fill_to: as for `micro_batches`."""
    if "packed_seq_lengths" in inputs or "attention_mask" in inputs:
        return micro_batches(inputs, most_tokens, fill_to)
    rows, length = inputs["input_ids"].shape  # rows that are packed to full length, without padding
    at_once = max(1, most_tokens // length)
    return [{name: each[first : first + at_once] for name, each in inputs.items()} for first in range(0, rows, at_once)]


def token_count(inputs: Mapping[str, Any]) -> int:
    """The tokens of a micro-batch, with padding."""
    return int(inputs["input_ids"].numel())


def free() -> None:
    """Give back what the failed pass held. Call it outside the except block: the exception keeps its tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
