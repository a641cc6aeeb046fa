"""Does the tuned model prefer better answers to worse ones more than its base: a sign test on held-out pairs.

Of each pair both models give both answers a likelihood. The tuned model has learnt from a pair if the odds of the
better answer have grown: TRL's accuracy of the rewards. Without any learning that is a toss of a coin, so the share is
compared with a half, by the exact binomial test. Which answer is the likelier one is told beside it, by the likelihood
a token: by that of whole answers the shorter one would nearly always win.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fitune.core.score import statistics
from fitune.core.score.verdict import ERROR, SAME_WITHIN, Word, name_of

LEAST_PAIRS = 20
"""With fewer pairs no verdict is given: the test is exact with any number, but fewer are hardly a sample."""
LEAST_GROWTH = 0.1
"""Growth of the log-odds below which a change is not worth a word, in nats: odds of one in ten more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScore:
    """The log-likelihoods of both answers of a held-out pair by both models, in nats."""

    key: str
    """A digest of the pair: the same pair has it in every run."""
    tokens: int
    """Tokens of the better answer."""
    rejected_tokens: int
    """Tokens of the worse answer."""
    base: float
    """The better answer by the base model."""
    tuned: float
    """The same by the tuned model."""
    rejected_base: float
    """The worse answer by the base model."""
    rejected_tuned: float
    """The same by the tuned model."""

    @property
    def growth(self) -> float:
        """The growth of the log-odds of the better answer."""
        return (self.tuned - self.base) - (self.rejected_tuned - self.rejected_base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A verdict on pairs with its numbers. Shares are 0 to 1."""

    word: Word
    """better, no different, worse or can't tell."""
    rows: int
    """Held-out pairs."""
    share: float
    """Share of the pairs in which the odds of the better answer grew; a half without any learning."""
    low: float
    """Lower end of the 95 % interval of that share."""
    high: float
    """Upper end of that interval."""
    p: float
    """Probability of such a share by chance, two-sided."""
    growth: float
    """Mean growth of the log-odds of the better answer, in nats."""
    base: float
    """Share of the pairs whose better answer is the likelier one a token by the base model."""
    tuned: float
    """The same by the tuned model."""
    chosen_change: float
    """By how much the better answers became likelier, in nats a token."""
    rejected_change: float
    """The same of the worse answers."""
    unscored: int = 0
    """Pairs that were not asked, as the time was over."""


def judge(pairs: Sequence[PairScore], unscored: int = 0) -> Preference:
    """Judge pairs, at least one. unscored: pairs that were not asked."""
    rows = len(pairs)
    grown = sum(pair.growth > 0 for pair in pairs)
    low, high = statistics.share_interval(grown, rows)
    p, growth = statistics.mcnemar(grown, rows - grown), sum(pair.growth for pair in pairs) / rows
    tokens, rejected_tokens = (sum(each) for each in zip(*((p.tokens, p.rejected_tokens) for p in pairs), strict=True))
    return Preference(
        word=_word(rows, p, growth, grown / rows, low, high),
        rows=rows,
        share=grown / rows,
        low=low,
        high=high,
        p=p,
        growth=growth,
        base=sum(pair.base / pair.tokens > pair.rejected_base / pair.rejected_tokens for pair in pairs) / rows,
        tuned=sum(pair.tuned / pair.tokens > pair.rejected_tuned / pair.rejected_tokens for pair in pairs) / rows,
        chosen_change=sum(pair.tuned - pair.base for pair in pairs) / tokens,
        rejected_change=sum(pair.rejected_tuned - pair.rejected_base for pair in pairs) / rejected_tokens,
        unscored=unscored,
    )


def _word(rows: int, p: float, growth: float, share: float, low: float, high: float) -> Word:
    if rows < LEAST_PAIRS:
        return "can't tell"
    if p < ERROR and abs(growth) >= LEAST_GROWTH and (growth > 0) == (share > 0.5):
        return "better" if share > 0.5 else "worse"
    is_same = abs(growth) < LEAST_GROWTH or max(0.5 - low, high - 0.5) <= SAME_WITHIN
    return "no different" if is_same else "can't tell"


def sentence(found: Preference, source: str | None = None) -> str:
    """The verdict in words: the share with its interval, which answers are likelier now, and what became of both.
    source: of the pairs; None for the held-out ones of a run."""
    asked = "held-out pairs" if source is None else f"pairs of {name_of(source)}"
    grown, right, before = (round(each * found.rows) for each in (found.share, found.tuned, found.base))
    numbers = (
        f"in {grown:,} of {found.rows:,} {asked} the odds of the better answer grew (95 % interval "
        f"{found.low:.0%} to {found.high:.0%}; chance gives half). It is the likelier one in {right:,}, before in "
        f"{before:,}. Better answers changed by {found.chosen_change:+.2f} nats a token, worse ones by "
        f"{found.rejected_change:+.2f}.{_unasked(found)}"
    )
    match found.word:
        case "better":
            return f"It learnt to prefer: {numbers}"
        case "worse":
            return f"It learnt to prefer the worse answers: {numbers} Don't use it as it is."
        case "no different":
            return f"It learnt no preference worth a word: {numbers} A higher train.lr or more epochs teach more."
    why = f"a verdict needs {LEAST_PAIRS} pairs" if found.rows < LEAST_PAIRS else "it may be chance"
    return f"Can't tell what it learnt to prefer, since {why}: {numbers}"


def _unasked(found: Preference) -> str:
    if not found.unscored:
        return ""
    return f" The time was over: {found.unscored:,} more pairs are there, and fitune score asks them all."
