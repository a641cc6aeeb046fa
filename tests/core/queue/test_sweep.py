"""A sweep: the values that commas part, and the names that tell its entries apart."""

import re

import pytest

from fitune.core.errors import UserError
from fitune.core.queue import variants
from fitune.core.recipe import RUN_NAME


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ([], [((), "")]),
        (["lora.r=8"], [(("lora.r=8",), "")]),
        (["lora.r=8,16"], [(("lora.r=8",), "r8"), (("lora.r=16",), "r16")]),
        (["lora.r=8,16", "model.quant=nf4"], [(("lora.r=8", "model.quant=nf4"), "r8"),
                                              (("lora.r=16", "model.quant=nf4"), "r16")]),
        (['lora.target_modules=["q_proj","v_proj"]'], [(('lora.target_modules=["q_proj","v_proj"]',), "")]),
        (['data.source="a,b.jsonl",c.jsonl'], [(('data.source="a,b.jsonl"',), "source-a-b.jsonl"),
                                               (("data.source=c.jsonl",), "sourcec.jsonl")]),
        (["run.gpus=[0,1],[2,3]"], [(("run.gpus=[0,1]",), "gpus-0-1"), (("run.gpus=[2,3]",), "gpus-2-3")]),
        (["train.lr=1e-4, 2e-4"], [(("train.lr=1e-4",), "lr1e-4"), (("train.lr= 2e-4",), "lr2e-4")]),
        (["data.source=it's,here"], [(("data.source=it's,here",), "")]),
    ],
)  # fmt: skip
def test_each_value_makes_an_entry(given: list[str], made: list[tuple[tuple[str, ...], str]]) -> None:
    assert [(each.overrides, each.suffix) for each in variants(given)] == made


def test_several_fields_make_every_combination() -> None:
    assert [each.suffix for each in variants(["lora.r=8,16", "train.seed=1,2"])] == [
        "r8-seed1", "r8-seed2", "r16-seed1", "r16-seed2",
    ]  # fmt: skip


def test_values_that_begin_alike_get_numbers() -> None:
    long = "x" * 80
    assert [each.suffix for each in variants([f"model.id={long}a,{long}b"])] == ["1", "2"]


@pytest.mark.parametrize("value", ["ü,ö", "..,--", "a/b,c d", "1,", ",,"])
def test_the_name_of_a_run_may_end_with_each_suffix(value: str) -> None:
    assert all(re.fullmatch(RUN_NAME, f"name-{each.suffix}") for each in variants([f"model.id={value}"]))


def test_a_sweep_that_would_take_weeks_is_refused() -> None:
    many = ",".join(map(str, range(1, 12)))
    with pytest.raises(UserError, match="more than 100 entries"):
        variants([f"lora.r={many}", f"train.seed={many}"])
