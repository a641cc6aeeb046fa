"""What goes with an objective, and what does not."""

from typing import Any

import pytest

from fitune.core.errors import BadInput
from fitune.core.recipe import Recipe, parse


def recipe(objective: str, **groups: dict[str, Any]) -> Recipe:
    tree: dict[str, dict[str, Any]] = {"model": {"id": "a/b"}, "data": {"source": "rows.jsonl"}}
    tree["train"] = {"objective": objective}
    for group, fields in groups.items():
        tree.setdefault(group, {}).update(fields)
    return parse(tree, "test")


REFUSED: tuple[tuple[str, dict[str, dict[str, Any]], str], ...] = (
    ("dpo", {"data": {"packing": True}}, "data.packing"),
    ("orpo", {"data": {"loss_on": "all"}}, "data.loss_on"),
    ("kto", {"data": {"replay": 0.1}}, "data.replay"),
    ("dpo", {"train": {"micro_tokens": 2048}}, "train.micro_tokens"),
    ("dpo", {"run": {"shard": True}}, "run.shard"),
    ("kto", {"train": {"micro_batch": 1}}, "train.micro_batch"),
    ("orpo", {"lora": {"dropout": 0.1}}, "lora.dropout"),
    ("dpo", {"lora": {"init": "pissa"}, "model": {"quant": "bf16"}}, "lora.init"),
    ("kto", {"lora": {"bias": "all"}}, "lora.bias"),
    ("dpo", {"lora": {"target_modules": ["q_proj", "lm_head"]}}, "lora.target_modules"),
    ("kto", {"lora": {"init": "loftq"}}, "lora.init"),
    ("dpo", {"data": {"format": "messages"}}, "data.format"),
    ("kto", {"data": {"format": "preference"}}, "data.format"),
    ("sft", {"data": {"format": "rated"}}, "data.format"),
)


@pytest.mark.parametrize(("objective", "groups", "where"), REFUSED)
def test_what_does_not_go_with_an_objective_is_told(
    objective: str, groups: dict[str, dict[str, Any]], where: str
) -> None:
    with pytest.raises(BadInput) as refusal:
        recipe(objective, **groups)
    assert [problem.where.rpartition(" ")[2] for problem in refusal.value.problems] == [where]
    assert all(problem.fix for problem in refusal.value.problems)


def test_all_is_told_at_once() -> None:
    with pytest.raises(BadInput) as refusal:
        recipe("dpo", data={"packing": True, "loss_on": "all", "replay": 0.1}, lora={"dropout": 0.1})
    assert len(refusal.value.problems) == 4


def test_an_old_recipe_learns_good_answers() -> None:
    old = parse({"model": {"id": "a/b"}, "data": {"source": "rows.jsonl"}}, "test")
    assert (old.train.objective, old.rows) == ("sft", old.data)


def test_the_rows_are_read_as_the_objective_asks() -> None:
    asked = recipe("dpo", data={"source": "", "sources": [{"source": "a.jsonl"}, {"source": "b.jsonl"}]})
    assert [part.format for part, _ in asked.rows.parts()] == ["preference", "preference"]
    assert recipe("kto").rows.format == "rated"
