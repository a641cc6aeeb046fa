"""The share of each rank in a step: over all ranks together a step takes the rows that it would take on one card.

The trainer deals the micro-batches out in turn, and repeats rows of the beginning where the last ranks would get none.
So that no row is trained twice, empty rows fill the end up: nothing in them counts for the loss.
The ranks wait for each other at the end of each step, so the rows of a step are ordered such that all get about as many
tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import torch
from datasets import Dataset, concatenate_datasets
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import RandomSampler, Sampler

from fitune.core.units import MIB
from fitune.core.worker.cards.rank import ranks

IGNORED = -100
EMPTY_TOKENS = 2
"""Of one token nothing could be learned anyway: its label is that of the token after it."""


class EmptyRowsLast(Sampler[int]):
    """The steps that one card would take, for any number of ranks, the rows of each evenly dealt; then empty rows."""

    def __init__(self, lengths: Sequence[int], empty: int, seed: int, step_rows: int, micro_batch: int) -> None:
        """lengths: tokens of each row. step_rows: rows of a step over all ranks, in micro-batches of micro_batch."""
        self.lengths, self.empty, self.seed, self.epoch = lengths, empty, seed, 0
        self.step_rows, self.micro_batch = step_rows, micro_batch

    def __len__(self) -> int:
        return len(self.lengths) + self.empty

    def __iter__(self) -> Iterator[int]:
        # As accelerate's SeedableRandomSampler, which orders the rows for one card.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = list(RandomSampler(range(len(self.lengths)), generator=generator))
        for start in range(0, len(order), self.step_rows):
            yield from evenly_dealt(order[start : start + self.step_rows], self.lengths, self.micro_batch)
        yield from range(len(self.lengths), len(self))
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Order the rows as in this epoch, from 0."""
        self.epoch = epoch


def evenly_dealt(rows: Sequence[int], lengths: Sequence[int], micro_batch: int) -> list[int]:
    """The rows of a step, ordered so that its micro-batches hold about as many tokens; as they are if one isn't full.

    From the longest row to the shortest, each micro-batch gets one in turn, and then one in the opposite turn.
    """
    parts = len(rows) // micro_batch
    if len(rows) % micro_batch:
        return list(rows)
    falling = sorted(rows, key=lambda row: -lengths[row])
    turns = [falling[turn * parts : (turn + 1) * parts] for turn in range(micro_batch)]
    there_and_back = [reversed(turn) if number % 2 else turn for number, turn in enumerate(turns)]
    return [row for part in zip(*there_and_back, strict=True) for row in part]


def share_rows(trainer: Any) -> None:
    """Make the trainer take each row once an epoch, whatever the number of ranks."""
    if ranks() == 1:
        return
    rows, args = trainer.train_dataset, trainer.args
    micro_batch = args.per_device_train_batch_size
    empty = -len(rows) % (micro_batch * ranks())
    lengths = pc.list_value_length(rows.with_format("arrow")["input_ids"][:]).to_pylist()
    step_rows = micro_batch * ranks() * args.gradient_accumulation_steps
    sampler = EmptyRowsLast(lengths, empty, args.data_seed, step_rows, micro_batch)
    trainer.train_dataset = concatenate_datasets([rows, _empty_rows(rows, empty)]) if empty else rows
    trainer._get_train_sampler = lambda dataset=None: sampler


def expect_all_gradients(args: Any, model: Any) -> None:
    """Tell torch that each step gives each trained weight a gradient, where that is so: experts may get no token.

    Else it looks through the whole graph of each step for weights that get none.
    """
    if ranks() > 1 and not any("expert" in name for name, weight in model.named_parameters() if weight.requires_grad):
        args.ddp_find_unused_parameters = False


def copy_adapter_alone(trainer: Any) -> None:
    """Leave the frozen weights to each rank, which has loaded the same: else rank 0 sends them all when it begins.

    The gradients lie where they are sent from, in one piece: copies of the many small ones of an adapter, and kernels
    that wait for the other card amid the backward pass, cost more than sending all of them at the end. Of an 8B with
    short rows a step took 33 ms more than on one card before, and 11 ms with this (two H200, 2026-11-30).
    """
    model, sent = trainer.model, trainer.accelerator.ddp_handler
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    buffers = [name for name, _ in model.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, [*frozen, *buffers])
    trained_bytes = sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    sent.gradient_as_bucket_view, sent.bucket_cap_mb = True, trained_bytes // MIB + 1


def tokens_of_rows(inputs: Mapping[str, Any]) -> torch.Tensor:
    """The tokens of a micro-batch that are neither padding nor of empty rows; lazy, so that a card never waits."""
    is_trained = inputs["labels"] != IGNORED
    if "packed_seq_lengths" not in inputs:
        return (inputs["attention_mask"] * is_trained.any(1, keepdim=True)).sum()
    lengths = inputs["packed_seq_lengths"].to(is_trained.device)
    ends, trained = lengths.cumsum(0), is_trained.flatten().cumsum(0)
    before = torch.nn.functional.pad(trained[ends - 1][:-1], (1, 0))
    return (lengths * (trained[ends - 1] > before)).sum()


def _empty_rows(rows: Dataset, count: int) -> Dataset:
    """As many empty rows, with the columns of the others; a packed row has its lengths beside it."""
    columns = {
        "input_ids": [rows[0]["input_ids"][0]] * EMPTY_TOKENS,
        "labels": [IGNORED] * EMPTY_TOKENS,
        "seq_lengths": [EMPTY_TOKENS],
    }
    row = {name: columns[name] for name in rows.column_names}
    return Dataset.from_list([row] * count, features=rows.features)
