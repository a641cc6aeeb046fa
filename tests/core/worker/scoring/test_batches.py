"""Many rows at once: as if each were alone, and by halves where a card has no room for them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


def test_the_likeliest_answers_of_many_rows_are_those_of_each_row(model: Any) -> None:
    from fitune.core.worker.scoring.losses import likeliest
    from fitune.core.worker.scoring.rows import ScoredRow

    asked = [[5, 6, 7], [9, 10, 11, 12, 13, 14], [20], [21, 22, 23, 24], [30, 31], [7, 6, 5]]
    rows = [ScoredRow(str(ids), "", "", ids, [*ids, 40], len(ids)) for ids in asked]
    answers = [[40, 41], [50], [60, 61, 62]]
    alone = [likeliest(model, [row], answers, 1)[0] for row in rows]
    assert likeliest(model, rows, answers, 16) == likeliest(model, rows, answers, 4) == alone
    assert len(set(alone)) > 1


def test_rows_that_are_too_many_for_the_memory_go_by_halves_in_order() -> None:
    import torch

    from fitune.core.worker.scoring.generate import in_parts_that_fit

    sizes = list[int]()

    def compute(part: Sequence[int]) -> list[int]:
        sizes.append(len(part))
        if len(part) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [10 * each for each in part]

    assert in_parts_that_fit(compute, range(9)) == [0, 10, 20, 30, 40, 50, 60, 70, 80]
    assert sizes == [9, 4, 2, 2, 5, 2, 3]


def test_a_row_that_is_too_long_alone_is_an_error() -> None:
    import torch

    from fitune.core.worker.scoring.generate import in_parts_that_fit

    def compute(part: Sequence[int]) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        in_parts_that_fit(compute, range(4))


@pytest.mark.parametrize(("heads", "kv_heads", "rows"), [(8, 2, 381), (8, None, 95), (None, None, 95)])
def test_as_many_rows_go_at_once_as_half_of_the_free_memory_holds(
    monkeypatch: pytest.MonkeyPatch, heads: int | None, kv_heads: int | None, rows: int
) -> None:
    import torch

    from fitune.core.worker.scoring.generate import rows_that_fit

    class Config:
        num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads = 10, 512, heads, kv_heads

        def get_text_config(self) -> "Config":
            return self

    class Model:
        config = Config()

    free = {"mem_get_info": (3 << 30, 8 << 30), "memory_reserved": 2 << 30, "memory_allocated": 1 << 30}
    for name, value in free.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert rows_that_fit(Model(), 1100) == rows
    assert rows_that_fit(Model(), 10**9) == 1


def test_answers_are_the_same_however_many_end_early(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fitune.core.worker.scoring import generate

    prompts = [[5 + row, 9, 3 * row + 7][: 1 + row % 3] for row in range(24)]
    whole = generate._generate(model, prompts, range(24), [], 24, None)
    stops = [whole[0][3], whole[5][8], whole[7][11]]
    until = [generate._until_stop(ids, stops) for ids in whole]
    assert len({len(ids) for ids in until}) > 3, "they end at many places"
    calls = list[int]()
    inner = generate._write_on

    def counted(model: Any, asked: Any, *rest: Any) -> Any:
        calls.append(len(asked))
        return inner(model, asked, *rest)

    monkeypatch.setattr(generate, "_write_on", counted)
    assert generate._generate(model, prompts, range(24), stops, 24, None) == until
    assert len(calls) > 1, "those that go on are written without the others"
    assert all(after <= before / 2 for before, after in pairwise(calls))
