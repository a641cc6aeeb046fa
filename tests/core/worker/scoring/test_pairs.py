"""Pairs of answers: how they are put together, and for how long they are compared."""

from typing import Any

import pytest

from fitune.core.score import PairScore
from fitune.core.worker.chats.template import PromptOptions

ANSWER = {"role": "assistant", "content": "Far."}


def rated(n: int, good: bool) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"How far is moon {n}?"}, ANSWER], "label": good}


def test_rated_answers_make_pairs_of_a_good_and_a_bad_one(tokenizer: Any) -> None:
    from fitune.core.worker.scoring import pairs

    rows = [*(rated(n, True) for n in range(5)), *(rated(n, False) for n in range(5, 8))]
    found = pairs.pairs_of(rows, tokenizer, 512, PromptOptions())
    asked = [tokenizer.decode(ids[:first]) for pair in found for ids, first in (pair.better, pair.worse)]
    assert len(found) == 3
    assert len(set(asked)) == 6, "each stands in one pair"
    assert pairs.pairs_of(reversed(rows), tokenizer, 512, PromptOptions()) == found, "in no order of the file"


def test_a_pair_of_one_row_shares_its_prompt(tokenizer: Any) -> None:
    from fitune.core.worker.scoring import pairs

    row = {"messages": rated(0, True)["messages"], "rejected": {"role": "assistant", "content": "No idea."}}
    (pair,) = pairs.pairs_of([row], tokenizer, 512, PromptOptions())
    (better, first), (worse, other) = pair.better, pair.worse
    assert (first, better[:first]) == (other, worse[:other])
    assert tokenizer.decode(worse[other:]) == "No idea.<|im_end|>"


@pytest.mark.parametrize(
    ("seconds", "done"),
    [(None, 128), (1000.0, 128), (45.0, 64), (12.0, 32), (5.0, 16)],
    ids=["no limit", "enough", "for some", "for a verdict, a little longer", "for the first alone"],
)
def test_as_many_are_compared_as_the_time_allows(
    seconds: float | None, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of 16 takes 10 s. A verdict needs 20 pairs, so two parts."""
    from fitune.core.worker.scoring import pairs

    clock = [0.0]
    one = PairScore(key="", tokens=1, rejected_tokens=1, base=0, tuned=0, rejected_base=0, rejected_tuned=0)

    def ten_seconds(_: object, chunk: list[object]) -> list[PairScore]:
        clock[0] += 10
        return [one] * len(chunk)

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(pairs, "_chunk", ten_seconds)
    told: list[int] = []
    tuned: Any = None
    given: list[Any] = [None] * 128
    assert len(pairs.compare(tuned, given, seconds, lambda so_far, _: told.append(so_far))) == done
    assert told[-1] == done
