"""The share of each rank in a step."""

from typing import Any

import pytest

pytestmark = pytest.mark.train


def test_rows_of_which_nothing_is_learned_do_not_count() -> None:
    import torch

    from fitune.core.worker.cards.share import tokens_of_rows

    padded: dict[str, Any] = {
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]),
        "labels": torch.tensor([[-100, 4, 5, -100], [-100, -100, -100, -100], [-100, -100, -100, 7]]),
    }
    assert int(tokens_of_rows(padded)) == 7
    laid_out: dict[str, Any] = {
        "packed_seq_lengths": torch.tensor([3, 2, 4, 2]),
        "labels": torch.tensor([[-100, 4, 5, -100, -100, -100, -100, 7, 8, -100, -100, -100, -100]]),
    }
    assert int(tokens_of_rows(laid_out)) == 7, "and two tokens that fill it up"


def test_the_order_of_rows_is_that_of_one_card() -> None:
    from accelerate.data_loader import SeedableRandomSampler  # type: ignore[import-untyped]

    from fitune.core.worker.cards.share import EmptyRowsLast

    alone = SeedableRandomSampler(list(range(7)), data_seed=3407)
    shared = EmptyRowsLast(7, 2, 3407)
    for epoch in range(3):
        alone.set_epoch(epoch)
        assert list(shared) == [*alone, 7, 8]
