"""Several cards: which train together, and what a recipe does otherwise there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.forecast.resolve import resolve
from fitune.core.machine.host import Gpu, Machine
from fitune.core.recipe.load import Recipe
from fitune.core.units import GIB

CARD = Gpu(0, "GPU-1", "NVIDIA L4", 24 * GIB, 20 * GIB, 4 * GIB, compute_capability=(8, 9))
OTHER = Gpu(1, "GPU-2", "NVIDIA T4", 16 * GIB, 15 * GIB, GIB, compute_capability=(7, 5))
BUSY = Gpu(2, "GPU-3", "NVIDIA L4", 24 * GIB, 2 * GIB, 22 * GIB, compute_capability=(8, 9))
SLICE = replace(CARD, uuid="MIG-1", mig=True)

Make = Callable[..., Recipe]


def machine(*gpus: Gpu) -> Machine:
    return Machine(gpus=gpus, gpu_state="ok" if gpus else "none", versions={"unsloth": "2026.10.7"})


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ("auto", [0]),
        (1, [0]),
        (2, [0, 1]),
        ("all", [0, 1, 2]),
        ([2, 0], [2, 0]),
        (["GPU-2", 0], [1, 0]),
    ],
)
def test_cards_are_chosen_by_number_by_name_or_by_free_memory(recipe: Make, gpus: Any, expected: list[int]) -> None:
    resolved = resolve(recipe(run={"gpus": gpus}, train={"grad_accum": 6}), machine(BUSY, CARD, OTHER))
    assert [gpu.index for gpu in resolved.gpus] == expected
    assert resolved.ranks == len(expected)


@pytest.mark.parametrize(
    ("gpus", "here", "said"),
    [
        (3, (CARD, OTHER), "this machine has 2"),
        ([0, 0], (CARD, OTHER), "twice"),
        ([0, "GPU-2"], (SLICE, OTHER), "MIG"),
        ("all", (), "no card can be used"),
        (5, (CARD,) * 5, "twice"),
    ],
)
def test_cards_that_are_not_there_or_cannot_work_together_are_told(
    recipe: Make, gpus: Any, here: tuple[Gpu, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        resolve(recipe(run={"gpus": gpus}), machine(*here))


def test_cards_share_the_rows_of_a_step_and_take_fewer_at_once_if_they_must(recipe: Make) -> None:
    two = machine(CARD, OTHER)
    kept = resolve(recipe(run={"gpus": 2}, train={"micro_batch": 3, "grad_accum": 4}), two)
    assert (kept.recipe.train.micro_batch, kept.recipe.train.grad_accum, kept.notes) == (3, 4, ())
    split = resolve(recipe(run={"gpus": 2}, train={"micro_batch": 8, "grad_accum": 1}), two)
    assert (split.recipe.train.micro_batch, split.recipe.train.grad_accum) == (4, 2)
    assert split.notes == ("train.micro_batch = 4, train.grad_accum = 2: 2 cards share the 8 rows of a step.",)
    by_tokens = resolve(recipe(run={"gpus": 2}, train={"micro_tokens": 4096, "grad_accum": 2}), two)
    assert by_tokens.recipe.train.micro_tokens is None
    assert len(by_tokens.notes) == 1
    with pytest.raises(UserError, match="A step of 3 rows"):
        resolve(recipe(run={"gpus": 2}, train={"micro_batch": 3, "grad_accum": 1}), two)


def test_a_split_model_takes_what_can_be_split_and_one_card_splits_nothing(recipe: Make) -> None:
    wanted = recipe(run={"gpus": 2, "shard": True}, train={"optimizer": "adamw_8bit", "offload_layers": 4})
    split = resolve(wanted, machine(CARD, OTHER))
    assert split.recipe.train.optimizer == "adamw_torch_fused"
    assert split.recipe.train.offload_layers is None
    assert len(split.notes) == 2
    for alone in (resolve(recipe(run={"shard": True}), machine(CARD)), resolve(wanted, machine())):
        assert alone.recipe.run.shard is False
        assert any("two cards or more" in note for note in alone.notes)
