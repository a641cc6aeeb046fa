"""The general questions: each has a right answer that passes its check, and what was forgotten is told with numbers."""

import pytest

from fitune.core.recipe import presets_dir
from fitune.core.score import probe
from fitune.core.score.probe import KINDS, Item, Kind, ProbeAnswer

ITEMS = probe.items(presets_dir() / "probe" / "items.jsonl")


def test_there_are_some_hundred_of_all_kinds_and_each_once() -> None:
    assert len(ITEMS) >= 250
    assert len({item.question for item in ITEMS}) == len(ITEMS)
    assert {item.kind for item in ITEMS} == set(KINDS)


def test_each_right_answer_passes_and_an_answer_of_another_task_does_not() -> None:
    assert [item.question for item in ITEMS if not probe.is_right(item, item.answer)] == []
    for answer in ("", "team: delivery | urgency: high | item: kettle", '{"sentiment": "positive"}'):
        assert [item.question for item in ITEMS if probe.is_right(item, answer)] == []


@pytest.mark.parametrize("count", [32, 64, 128])
def test_every_beginning_holds_all_kinds_in_their_share(count: int) -> None:
    for kind in KINDS:
        share = sum(item.kind == kind for item in ITEMS) / len(ITEMS)
        assert abs(sum(item.kind == kind for item in ITEMS[:count]) - share * count) <= 1.5


def test_no_question_is_among_the_prompts_that_replay_trains_on() -> None:
    prompts = (presets_dir() / "replay" / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert not {item.question for item in ITEMS} & set(prompts)


@pytest.mark.parametrize(
    ("check", "answer", "said", "is_right"),
    [
        ("number", "12", "7 + 5 = 12.", True),
        ("number", "12", "<think>7 + 5</think>\n12", True),
        ("number", "12", "It is 13", False),
        ("words", "Rome", "The capital of Italy is **Rome**.", True),
        ("words", "Rome", "Romeo", False),
        ("form", "YES", "YES.", True),
        ("form", "YES", "Yes, of course", False),
        ("denial", "", "There isn’t any.", True),
        ("denial", "", "King Henry", False),
    ],
)
def test_answers_are_checked(check: probe.Check, answer: str, said: str, is_right: bool) -> None:
    item = Item(kind="facts", question="?", check=check, answer=answer, accepted=("Rome",), pattern=r"\W*YES\W*")
    assert probe.is_right(item, said) == is_right


def answers(base: int, tuned: int, of: int, kind: Kind = "arithmetic") -> list[ProbeAnswer]:
    """The first so many are right."""
    given = {"question": "?", "reference": "1", "base": "1", "tuned": "1"}
    return [
        ProbeAnswer(kind=kind if n < base else "facts", base_right=n < base, tuned_right=n < tuned, **given)
        for n in range(of)
    ]


def test_forgetting_is_told_with_numbers_and_a_remedy() -> None:
    found = probe.forgetting(answers(80, 20, 200))
    assert (found.word, found.rows, found.most) == ("worse", 200, "arithmetic")
    text = probe.sentence(found)
    assert "20 of 200 general questions right, before 80" in text
    assert "most of all arithmetic" in text
    assert "data.replay = 0.1" in text


@pytest.mark.parametrize(
    ("base", "tuned", "of", "said"),
    [
        (100, 100, 200, "It forgot nothing that shows: 100 of 200"),
        (20, 80, 200, "It forgot nothing: 80 of 200"),
        (10, 5, 32, "can't be told: 5 of 32 general questions right, before 10"),
        (2, 0, 40, "the base model knows too few"),
        (0, 0, 200, "can't be told: 0 of 200 general questions right, before 0"),
        (12, 12, 200, "the base model knows too few"),
    ],
)
def test_what_was_not_forgotten_is_told_too(base: int, tuned: int, of: int, said: str) -> None:
    text = probe.sentence(probe.forgetting(answers(base, tuned, of)))
    assert said in text
    assert probe.REMEDY not in text
