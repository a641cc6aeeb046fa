"""How many full rows hold many short ones, and what "auto" does."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fitune.core.memory import shapes
from fitune.core.recipe.load import Recipe
from fitune.core.tokens.packing import bins_needed, decide_packing, packing_note


def one_by_one(lengths: list[int], size: int) -> int:
    """Best fit, longest first, a row at a time."""
    spaces: list[int] = []
    used = 0
    for length in sorted(lengths, reverse=True):
        place = bisect_left(spaces, length)
        used += place == len(spaces)
        left = (size if place == len(spaces) else spaces.pop(place)) - length
        if left:
            insort(spaces, left)
    return used


@pytest.mark.parametrize("seed", range(40))
def test_rows_of_one_length_are_laid_at_once_and_make_as_many_bins(seed: int) -> None:
    random = Random(seed)
    size = random.randint(5, 200)
    shortest_first = random.choice([1.0, 5.0])
    lengths = [min(size, 1 + int(random.expovariate(shortest_first / size))) for _ in range(random.randint(1, 400))]
    assert bins_needed(Counter(lengths), size) == one_by_one(lengths, size)


def test_no_rows_need_no_bin() -> None:
    assert bins_needed({}, 2048) == 0


@pytest.mark.parametrize(
    ("lengths", "changes", "packed", "why", "steps"),
    [
        ({100: 50_000}, {}, False, "larger_steps", 6250),
        ({100: 50_000}, {"data": {"packing": False}}, False, "refused", 6250),
        ({100: 50_000}, {"data": {"packing": True}}, True, "asked", 313),
        ({100: 50_000}, {"train": {"max_steps": 60}}, False, "larger_steps", 60),
        ({100: 1000}, {"data": {"packing": True}}, True, "asked", 7),
        ({1500: 50_000}, {}, False, "little_gain", 6250),
        ({}, {}, False, "larger_steps", 0),
    ],
)
def test_auto_packs_nothing_since_larger_steps_taught_less(
    recipe: Callable[..., Recipe], lengths: dict[int, int], changes: Any, packed: bool, why: str, steps: int
) -> None:
    found = decide_packing(lengths, recipe(**changes), None)
    assert (found.packed, found.why, found.steps) == (packed, why, steps)


def test_rows_that_a_state_would_leak_into_are_counted_as_they_are(recipe: Callable[..., Recipe]) -> None:
    lengths, asked, refused = {100: 1000}, recipe(data={"packing": True}), recipe(data={"packing": False})
    qwen, llama = shapes.load("Qwen/Qwen3.5-9B"), shapes.load("meta-llama/Llama-3.1-8B-Instruct")
    found = decide_packing(lengths, asked, qwen)
    assert (found.packed, found.why) == (False, "not_apart")
    assert found.steps == decide_packing(lengths, refused, qwen).steps
    assert "Qwen3.5-9B" in packing_note(asked, qwen)
    assert packing_note(refused, qwen) == packing_note(recipe(), qwen) == packing_note(asked, llama) == ""


@pytest.mark.parametrize(
    ("kind", "backend", "packed"),
    [
        ("gpt_oss", "trl", False), ("gpt_oss", "unsloth", False), ("gemma2", "unsloth", False), ("gemma2", "trl", True),
        ("bloom", "trl", False), ("opt", "trl", False), ("llama", "unsloth", True), ("gpt_oss", "auto", True),
    ],
)  # fmt: skip
def test_attention_that_sees_rows_before_is_counted_by_backend(
    recipe: Callable[..., Recipe], kind: str, backend: str, packed: bool
) -> None:
    shape = replace(shapes.load("meta-llama/Llama-3.1-8B-Instruct"), model_type=kind)
    checkpointing = "unsloth" if backend == "unsloth" else "on"
    asked = recipe(data={"packing": True}, train={"backend": backend, "checkpointing": checkpointing})
    assert decide_packing({100: 1000}, asked, shape).packed == packed


def test_the_gain_is_rows_per_packed_row(recipe: Callable[..., Recipe]) -> None:
    assert decide_packing({512: 8}, recipe(), None).gain == 4.0
