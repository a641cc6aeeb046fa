"""The verdict on pairs: it is given for what was learnt, and not for what chance or a hair's breadth makes."""

import random

import pytest

from fitune.core.score import PairScore
from fitune.core.score.preference import judge, sentence
from fitune.core.score.statistics import share_interval


def pairs(growths: list[float], lead: float = 0.0) -> list[PairScore]:
    """Pairs whose better answer grows by so much. lead: of its likelihood by the base."""
    return [
        PairScore(
            key=str(place), tokens=10, rejected_tokens=10, base=-20 + lead, tuned=-20 + lead + growth / 2,
            rejected_base=-20, rejected_tuned=-20 - growth / 2,
        )
        for place, growth in enumerate(growths)
    ]  # fmt: skip


def drawn(count: int, mean: float, seed: int = 0) -> list[float]:
    dice = random.Random(seed)
    return [dice.gauss(mean, 1) for _ in range(count)]


@pytest.mark.parametrize(
    ("growths", "word"),
    [
        (drawn(60, 2.0), "better"),
        (drawn(60, -2.0), "worse"),
        (drawn(20, 2.0), "better"),
        (drawn(19, 2.0), "can't tell"),
        (drawn(60, 0.3), "can't tell"),
        ([0.01] * 200, "no different"),
        (drawn(4000, 0.0), "no different"),
    ],
    ids=["learnt", "learnt the wrong way", "few", "too few", "a little", "a hair's breadth", "nothing"],
)
def test_the_word_suits_what_was_learnt(growths: list[float], word: str) -> None:
    assert judge(pairs(growths)).word == word


def test_chance_seldom_makes_a_preference() -> None:
    """Of 400 models that learnt nothing at most 1 in 50 gets a verdict; the test allows 1 in 100."""
    words = [judge(pairs(drawn(60, 0.0, seed))).word for seed in range(400)]
    assert sum(word in ("better", "worse") for word in words) <= 8


def test_the_numbers_are_told() -> None:
    found = judge(pairs([4.0] * 45 + [-4.0] * 15, lead=-1.0), unscored=3)
    assert (found.share, found.base, found.tuned, found.unscored) == (0.75, 0.0, 0.75, 3)
    assert found.growth == pytest.approx(2.0)
    assert found.chosen_change == pytest.approx(0.1)
    assert found.rejected_change == pytest.approx(-0.1)
    said = sentence(found)
    assert "in 45 of 60 held-out pairs" in said
    assert "likelier one in 45, before in 0" in said
    assert "3 more pairs are there" in said
    assert "A higher train.lr or more epochs teach more." in sentence(judge(pairs([0.01] * 60)))


def test_the_interval_of_a_share_stays_between_0_and_1() -> None:
    lowest, above = share_interval(0, 60)
    assert lowest == 0
    assert above == pytest.approx(0.0602, abs=1e-3)
    assert share_interval(60, 60)[1] == pytest.approx(1)
    assert share_interval(60, 60)[1] <= 1
    low, high = share_interval(30, 60)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(0.245, abs=0.005)
