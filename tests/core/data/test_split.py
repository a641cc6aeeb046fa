"""How many rows are held out where nobody says it."""

import pytest

from fitune.core.data import eval_fraction
from fitune.core.recipe.load import parse


@pytest.mark.parametrize(
    ("objective", "rows", "held_out"),
    [("sft", 19, 0), ("sft", 300, 50), ("dpo", 600, 64), ("kto", 600, 100), ("kto", 1000, 128), ("kto", 9000, 256)],
)
def test_a_verdict_gets_its_rows_where_there_are_enough(objective: str, rows: int, held_out: int) -> None:
    tree = {"model": {"id": "m/m"}, "data": {"source": "rows.jsonl"}, "train": {"objective": objective}}
    assert round(rows * eval_fraction(parse(tree, "test"), rows)) == held_out
