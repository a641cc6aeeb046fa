"""The verdict on a fine-tune: better, no different, worse, or can't tell; with its numbers, in one sentence.

"Better" and "worse" need a difference that chance makes in at most 1 of 100 trials, and one that is worth having. "No
different" needs an interval so narrow that no difference worth having is left in it. All else can't be told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fitune.core.score import statistics
from fitune.core.score.metrics import WORDING, Metric
from fitune.core.score.statistics import Difference

Word = Literal["better", "no different", "worse", "can't tell"]
LEAST_ROWS = 50
"""With fewer rows no verdict is given."""
MOST_ROWS = 1_000_000
"""More rows than these are no advice."""
ERROR = 0.01
"""Probability of a "better" or a "worse" where there is no difference, two-sided."""
LOSS_ERROR = 0.006
"""The same for losses: where few rows lie far out, a bootstrap finds differences more often than it says. Of 20,000
simulated scores without an effect, of 50 to 500 rows whose differences have a skewness of at most 2, at most 0.88 % are
then called better and 0.81 % worse (bench/loss_verdicts.py, numpy 2.4.6, 2026-11-30); see docs/limits.md, too."""
LEAST_GAIN, LEAST_LOSS_GAIN = 0.01, 0.01
"""A smaller difference is not worth a word: a share of the rows; of free text a share of the base's loss."""
BLIND = "it learnt what the answers look like, and not which belongs to a question"
NEARLY_ALL = 0.95
"""The share of right answers of a base model from which on there is little to learn."""
SAME_WITHIN, SAME_LOSS_WITHIN = 0.05, 0.03
"""An interval within this, on both sides of 0, says that there is no difference worth having."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verdict with its numbers. Shares are 0 to 1; the loss is in nats a token."""

    word: Word
    """The verdict in a word."""
    metric: Metric
    """What was compared; text is judged by the loss of the data's answers."""
    rows: int
    """Held-out rows that both models answered."""
    base: float
    """The base model by the metric: the share of its answers that are right; for "text" the loss."""
    tuned: float
    """The same of the tuned model."""
    low: float
    """Lower end of the 95 % interval of the difference, tuned minus base."""
    high: float
    """Upper end of that interval."""
    p: float
    """Probability of such a difference by chance."""
    more_rows: int | None = None
    """Rows that are missing for a verdict; null where one is given, or no number would do."""
    leaked: int = 0
    """Rows that were left out because the training rows hold them, too."""
    unscored: int = 0
    """Rows that were not asked, as the time was over."""
    guessing: float | None = None
    """Share of the rows that have the most frequent answer, which guessing would get; null for "text"."""
    base_loss: float | None = None
    """Loss of the data's answers by the base model, over all their tokens; e to its power is the perplexity."""
    tuned_loss: float | None = None
    """The same by the tuned model."""
    blind: bool = False
    """True for free text if the tuned model expects the answers of other rows as much as a row's own: it learnt what
    answers look like, and not which belongs to a question."""


def of_answers(
    metric: Metric,
    base: Sequence[bool],
    tuned: Sequence[bool],
    guessed: Sequence[bool] | None = None,
    losses: tuple[float, float] | None = None,
    leaked: int = 0,
) -> Verdict:
    """Judge right and wrong answers to the same rows. guessed: if the most frequent answer of all is right: a model
    that learnt to write such answers, and not which, is no better. losses: of base and tuned model over all tokens."""
    difference = wanting = statistics.of_right(base, tuned)
    word = _word(difference, len(base), ERROR, LEAST_GAIN, SAME_WITHIN)
    share, guessing = sum(tuned) / len(tuned), sum(guessed) / len(guessed) if guessed else None
    if word == "better" and guessed and guessing is not None:
        wanting = statistics.of_right(guessed, tuned)
        if _word(wanting, len(base), ERROR, LEAST_GAIN, SAME_WITHIN) != "better":
            word = "no different" if share <= guessing else "can't tell"
    right = sum(base) / len(base), share
    return _verdict(word, metric, len(base), right, difference, wanting, guessing, losses, leaked)


def of_losses(base: Sequence[float], tuned: Sequence[float], tokens: Sequence[int], leaked: int = 0) -> Verdict:
    """Judge free text by the loss of the data's answers: mean losses of the rows, in nats a token, and their tokens."""
    total = sum(tokens)
    means = [sum(loss * count for loss, count in zip(each, tokens, strict=True)) / total for each in (base, tuned)]
    difference = statistics.of_numbers(base, tuned, tokens)
    least, same = LEAST_LOSS_GAIN * means[0], SAME_LOSS_WITHIN * means[0]
    word = _word(difference, len(base), LOSS_ERROR, least, same, lower_is_better=True)
    both = means[0], means[1]
    return _verdict(word, "text", len(base), both, difference, difference, None, both, leaked)


def unless_blind(found: Verdict, base: Sequence[float], tuned: Sequence[float], tokens: Sequence[int]) -> Verdict:
    """The verdict on free text, but no "better" for a model that does not heed the questions: training on answers that
    belong to other questions lowers the loss, too.

    base, tuned: how much lower the loss of each row's answer is below its own question than below another's.
    """
    if found.word != "better" or len(tokens) < LEAST_ROWS:
        return found
    heeds = statistics.of_numbers([0.0] * len(tuned), tuned, tokens)
    if heeds.mean > 0 and heeds.p < LOSS_ERROR:
        return found
    change = statistics.of_numbers(base, tuned, tokens)
    word: Word = "worse" if change.mean < 0 and change.p < LOSS_ERROR else "can't tell"
    return replace(found, word=word, blind=True)


def _word(
    found: Difference, rows: int, error: float, least: float, same_within: float, lower_is_better: bool = False
) -> Word:
    if rows < LEAST_ROWS:
        return "can't tell"
    if found.p < error and abs(found.mean) >= least:
        return "better" if (found.mean > 0) != lower_is_better else "worse"
    return "no different" if max(abs(found.low), abs(found.high)) <= same_within else "can't tell"


def _verdict(
    word: Word,
    metric: Metric,
    rows: int,
    both: tuple[float, float],
    difference: Difference,
    wanting: Difference,
    guessing: float | None,
    losses: tuple[float, float] | None,
    leaked: int,
) -> Verdict:
    """both: base and tuned model by the metric. wanting: the difference that more rows would have to show."""
    needed = statistics.rows_needed(wanting.mean, wanting.deviation)
    wanted = max(LEAST_ROWS, needed if needed < MOST_ROWS else 0)  # no number of rows shows a difference of nothing
    return Verdict(
        word=word,
        metric=metric,
        rows=rows,
        base=both[0],
        tuned=both[1],
        low=difference.low,
        high=difference.high,
        p=difference.p,
        more_rows=int(wanted - rows) if word == "can't tell" and rows < wanted else None,
        leaked=leaked,
        guessing=guessing,
        base_loss=losses[0] if losses else None,
        tuned_loss=losses[1] if losses else None,
    )


def name_of(source: str) -> str:
    """A data set as people call it: a file by its name, one on the Hub by its id."""
    return Path(source).name if source.startswith("/") else source


def sentence(verdict: Verdict, other: str = "before", source: str | None = None) -> str:
    """The verdict in one sentence: the word, on what, by how much, with how many rows. other: what the model is
    compared with; "before" is its base. source: of the rows; None for the held-out ones of a run."""
    numbers = _numbers(verdict, other, "held-out rows" if source is None else f"rows of {name_of(source)}")
    match verdict.word:
        case "better":
            text = f"Better: {numbers}."
        case "worse":
            text = f"Worse{f', {BLIND}' if verdict.blind else ''}: {numbers}. Don't use it as it is."
        case "no different":
            text = f"No different: {numbers}."
            if verdict.metric != "text" and verdict.base >= NEARLY_ALL:
                text += " It had nearly all of them right before: they leave little to learn."
            if verdict.guessing is not None and verdict.p < ERROR:
                text = f"No different from guessing the most frequent answer ({verdict.guessing:.0%}): {numbers}."
        case _:
            why = "too few rows" if verdict.rows < LEAST_ROWS else _chance(verdict)
            if verdict.guessing is not None and verdict.rows >= LEAST_ROWS and verdict.p < ERROR:
                why = f"always the most frequent answer would be right in {verdict.guessing:.0%}"
            text = f"Can't tell, {BLIND if verdict.blind else why}: {numbers}.{_more(verdict, source)}"
    return text + _leaked(verdict)


def _chance(verdict: Verdict) -> str:
    """That chance may have made a difference; with how often, where the 95 % interval says that it hardly did."""
    if verdict.low <= 0 <= verdict.high:
        return "the difference may be chance"
    error = LOSS_ERROR if verdict.metric == "text" else ERROR
    often = f"{100 * verdict.p:.2g} % of such scores"
    return f"chance alone makes such a difference in {often}, and a verdict needs less than {100 * error:g} %"


def _numbers(verdict: Verdict, other: str, asked: str) -> str:
    what, rows = WORDING[verdict.metric], verdict.rows
    if verdict.metric == "text":
        interval = f"95 % interval {verdict.low:+.3f} to {verdict.high:+.3f}"
        return f"{what} {verdict.tuned:.3f}, {other} {verdict.base:.3f} ({interval}, {rows:,} {asked})"
    interval = f"95 % interval {round(100 * verdict.low):+} to {round(100 * verdict.high):+} points"
    right, before = round(verdict.tuned * rows), round(verdict.base * rows)
    return f"{what} in {right:,} of {rows:,} {asked}, {other} in {before:,} ({interval})"


def _more(verdict: Verdict, source: str | None) -> str:
    if verdict.unscored:
        return f" The time was over: {verdict.unscored:,} more are there, and fitune score asks them all."
    if verdict.rows < LEAST_ROWS:
        missing = verdict.more_rows or LEAST_ROWS - verdict.rows  # runs of an earlier fitune may name none
        return f" A verdict needs at least {LEAST_ROWS}: {'hold out' if source is None else 'give'} {missing:,} more."
    return f" With about {verdict.more_rows:,} rows more it could be told." if verdict.more_rows else ""


def _leaked(verdict: Verdict) -> str:
    if not verdict.leaked:
        return ""
    return f" {verdict.leaked:,} more rows were left out, since the training rows hold them too."
