"""One card or all of them: what is proposed, and why."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitune.core.forecast import CardsChoice, cards_choices
from fitune.core.machine.host import Machine
from fitune.core.recipe import Recipe
from tests.core.forecast.test_several_cards import L8, Q32, box

Make = Callable[..., Recipe]


@pytest.fixture
def choices(recipe: Make, fitune_home: Path) -> Callable[..., tuple[CardsChoice, ...]]:
    def choose(machine: Machine, model: str, run: dict[str, Any] | None = None, **train: Any) -> Any:
        split = {"micro_batch": 1, "grad_accum": 8, **train}
        asked = recipe(model={"id": model, "max_seq_length": 1024}, train=split, run=run or {})
        return cards_choices(machine, asked, fitune_home)

    return choose


def test_two_cards_are_proposed_where_they_are_clearly_faster(choices: Callable[..., Any]) -> None:
    one, two = choices(box(24, 24), L8)
    assert (one.gpus, one.proposed, two.gpus, two.proposed) == (1, False, 2, True)
    assert two.why.startswith("about 1.")
    assert two.plan.pace.tokens_per_s > one.plan.pace.tokens_per_s


def test_cards_are_proposed_together_where_no_one_has_room(choices: Callable[..., Any]) -> None:
    one, two = choices(box(16, 16, ram_gib=48), Q32)
    assert two.proposed
    assert two.plan.fits
    assert one.plan is None or not one.proposed


def test_a_step_that_cards_can_not_share_leaves_one(choices: Callable[..., Any]) -> None:
    one, three = choices(box(24, 24, 24), L8)
    assert (one.proposed, three.proposed, three.plan) == (True, False, None)
    assert "can't be shared by 3 cards" in three.why


@pytest.mark.parametrize("run", [{"gpus": 2}, {"gpus": 1}, {"gpu": "0"}])
def test_a_recipe_that_says_which_cards_is_asked_nothing(choices: Callable[..., Any], run: dict[str, Any]) -> None:
    assert choices(box(24, 24), L8, run) == ()
    assert choices(box(24), L8) == ()
    hidden = box(24, 24)
    alone = replace(hidden, gpus=(hidden.gpus[0], replace(hidden.gpus[1], allowed=False)))
    assert choices(alone, L8) == ()
