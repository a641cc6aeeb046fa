"""The likelihoods of better and worse answers by both models, within a time limit."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fitune.core.score import PairScore, preference, scores
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.rows.render import render
from fitune.core.worker.rows.truncate import TruncatedRows, first_of
from fitune.core.worker.scoring.losses import log_likelihoods
from fitune.core.worker.scoring.probe import parts_in_time
from fitune.core.worker.tuned_model import TunedModel


@dataclass(frozen=True, slots=True)
class Pair:
    """A better and a worse answer in tokens, each behind its prompt, with the place where it begins."""

    key: str
    better: tuple[list[int], int]
    worse: tuple[list[int], int]


def pairs_of(rows: Iterable[dict[str, Any]], tokenizer: Any, max_seq_length: int, options: PromptOptions) -> list[Pair]:
    """The pairs in canonical rows, in an order that is nobody's choice. Of rated answers the good ones and the bad ones
    are put together by that order: each stands in one pair."""
    ordered = sorted(rows, key=scores.key_of)
    found: list[tuple[dict[str, Any], dict[str, list[int]]]] = []
    for row, rendered in zip(ordered, render(ordered, tokenizer, "answers", options), strict=True):
        cut = TruncatedRows(max_seq_length)
        cut.take(rendered, row)
        found += [(row, made) for made in cut.rows]
    good = [(row, made) for row, made in found if row.get("label") is True]
    bad = [made for row, made in found if row.get("label") is False]
    of_one = [
        Pair(scores.key_of(row), (made["input_ids"], first_of(made)), (made["rejected_ids"], first_of(made)))
        for row, made in found
        if "rejected" in row
    ]
    of_two = [
        Pair(scores.key_of(row), (made["input_ids"], first_of(made)), (other["input_ids"], first_of(other)))
        for (row, made), other in zip(good, bad, strict=False)
    ]
    return of_one or of_two


def compare(
    tuned: TunedModel, pairs: Sequence[Pair], seconds: float | None, told: Callable[[int, int], None]
) -> list[PairScore]:
    """The likelihoods of pairs, as `parts_in_time` gives them. told: called with the pairs that are done and those
    that there are."""
    done = list[PairScore]()
    for part in parts_in_time(pairs, seconds, preference.LEAST_PAIRS):
        done += _chunk(tuned, part)
        told(len(done), len(pairs))
    return done


def _chunk(tuned: TunedModel, pairs: Sequence[Pair]) -> list[PairScore]:
    answers = [*(pair.better for pair in pairs), *(pair.worse for pair in pairs)]
    with tuned.as_base():
        before = log_likelihoods(tuned.model, answers, len(pairs))
    after, count = log_likelihoods(tuned.model, answers, len(pairs)), len(pairs)
    return [
        PairScore(
            key=pair.key,
            tokens=len(pair.better[0]) - pair.better[1],
            rejected_tokens=len(pair.worse[0]) - pair.worse[1],
            base=before[place],
            tuned=after[place],
            rejected_base=before[count + place],
            rejected_tuned=after[count + place],
        )
        for place, pair in enumerate(pairs)
    ]
