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


def test_a_step_has_the_rows_of_one_card() -> None:
    from accelerate.data_loader import SeedableRandomSampler  # type: ignore[import-untyped]

    from fitune.core.worker.cards.share import EmptyRowsLast

    alone = SeedableRandomSampler(list(range(23)), data_seed=3407)
    shared = EmptyRowsLast(range(3, 26), 1, 3407, 8, 2)
    for epoch in range(3):
        alone.set_epoch(epoch)
        order, expected = list(shared), [*alone, 23]
        assert [set(order[at : at + 8]) for at in (0, 8, 16)] == [set(expected[at : at + 8]) for at in (0, 8, 16)]


def test_the_ranks_of_a_step_get_as_many_tokens() -> None:
    from fitune.core.worker.cards.share import evenly_dealt

    lengths = [900, 10, 20, 30, 700, 800, 40, 1000]
    order = evenly_dealt(range(8), lengths, 4)
    halves = [[lengths[row] for row in order[at : at + 4]] for at in (0, 4)]
    assert sorted(order) == list(range(8))
    assert abs(sum(halves[0]) - sum(halves[1])) <= 20, halves
    assert evenly_dealt([4, 2, 1], lengths, 4) == [4, 2, 1], "a part of a micro-batch stays as it is"
