"""Events of answers and scores: samples, the comparison with the base, and the laps of a race of rates."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A held-out question with the answers of the model before the training and now."""

    type: ClassVar[str] = "sample"
    step: int
    """The step after which it was asked; 0 before the first."""
    prompt: str
    """The question as it is shown to people."""
    before: str | None = None
    """The answer before the training."""
    after: str | None
    """The answer after this step; null at step 0."""
    reference: str | None = None
    """The answer in the data."""
    stops: bool | None = None
    """True if the answer ended by itself; left out if its time was over."""
    tokens: int | None = None
    """Length of the answer."""
    elapsed_s: float | None = None
    """Seconds that the answer took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A verdict on the trained model: it and the base have answered the same rows. scores.json has each row, and a file
    in scores/ those that are not the run's own."""

    type: ClassVar[str] = "score"
    word: str
    """better, no different, worse or can't tell."""
    metric: str
    """What was compared: tool_call, json, label, choice, number, match, or text (by the loss of the answers)."""
    rows: int
    """Held-out rows that both models answered."""
    base: float
    """The base model by the metric: the share of right answers; for text the loss, in nats a token."""
    tuned: float
    """The same of the tuned model."""
    low: float
    """Lower end of the 95 % interval of the difference, tuned minus base."""
    high: float
    """Upper end of that interval."""
    p: float
    """Probability of such a difference by chance, two-sided."""
    more_rows: int | None = None
    """Rows that are missing for a verdict."""
    leaked: int = 0
    """Rows that were left out because the training rows hold them, too."""
    unscored: int = 0
    """Rows that were not asked, as the time was over."""
    guessing: float | None = None
    """Share of the most frequent answer in the data, which guessing would get."""
    base_loss: float | None = None
    """Loss of the data's answers by the base model, in nats a token."""
    tuned_loss: float | None = None
    """The same by the tuned model."""
    blind: bool = False
    """True for free text if the tuned model expects the answers of other rows as much as a row's own."""
    source: str | None = None
    """The file or data set of the rows; left out for the run's own held-out ones."""
    elapsed_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgot:
    """What the trained model forgot: it and the base have answered the same general questions. scores.json has each."""

    type: ClassVar[str] = "forgot"
    word: str
    """worse: it forgot; better, no different or can't tell."""
    rows: int
    """Questions that both models answered."""
    base: float
    """Share that the base model has right."""
    tuned: float
    """Share that the tuned model has right."""
    low: float
    """Lower end of the 95 % interval of the difference, tuned minus base."""
    high: float
    """Upper end of that interval."""
    p: float
    """Probability of such a difference by chance, two-sided."""
    most: str = ""
    """The kind of question of which most was lost: arithmetic, facts, instructions, languages or nonsense; or empty."""
    elapsed_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """Whether the trained model prefers better answers to worse ones more than its base, on held-out pairs."""

    type: ClassVar[str] = "preferred"
    word: str
    """better: it learnt to prefer better answers; no different, worse or can't tell."""
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
    source: str | None = None
    """The file or data set of the pairs; left out for the run's own held-out ones."""
    elapsed_s: float | None = None
    """Seconds that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RacedLap:
    """A short training of `fitune tune-lr` has ended."""

    type: ClassVar[str] = "lap"
    round: int
    """Number of the round, from 1: each has half as many rates, and laps of twice as many steps."""
    lr: float
    """Its learning rate."""
    steps: int
    """Its optimizer steps."""
    loss: float | None
    """Loss of the held-out rows at its end, in nats a token. null in the file means that it diverged."""
    elapsed_s: float | None = None
    """Seconds that it took."""
