"""How often a verdict on losses is wrong by chance, and how often it sees a gain: simulated, without any model.

usage: python bench/loss_verdicts.py [--rows N ...] [--trials N] [--out FILE.jsonl]
Each line is one way in which rows' losses differ between base and tuned model, with its number of held-out rows:

wrong   the mean over all tokens is 0: the share of trials that are called better, and worse, in %
beyond  the same with a tail so long that no test on few rows can hold: most samples miss what lies out there
gain    the loss falls by `gain` of the base's: the share of trials that are called better, in %

"percentiles" stands for the test of 2026-11-30 and before: a bootstrap's percentiles alone, at an error of 0.4 %. The
numbers are those of core/score/statistics.py itself. That a difference must be worth having is left out, so that the
shares are the most that can be; 20,000 trials tell 1 % from 0.86 % (two standard errors). 13 minutes on one core.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))
from fitune.core.score.statistics import RESAMPLES, bootstrapped
from fitune.core.score.verdict import LOSS_ERROR

Numbers = NDArray[Any]
Dice = numpy.random.Generator
Shape = tuple[int, int]
BEFORE = 0.004
"""The error that "percentiles" was held to."""
BATCH = 1000
"""Trials at a time."""
BASE_LOSS = 1.6
"""Of the base model, in nats a token; only gains are a share of it."""
MOST_TOKENS = 300
MEAN_TOKENS = 152.5
"""Of answers of 5 to 300 tokens, each as likely."""

DIFFERENCES: dict[str, Callable[[Dice, Shape], Numbers]] = {
    "normal": lambda dice, shape: dice.normal(size=shape),
    "t of 3 degrees": lambda dice, shape: dice.standard_t(3, shape) / 3**0.5,
    "exponential": lambda dice, shape: dice.exponential(size=shape) - 1,
    "lognormal 0.5": lambda dice, shape: (dice.lognormal(0, 0.5, shape) - numpy.exp(0.125)) / 0.604,
    "1 of 10 rows": lambda dice, shape: (dice.random(shape) < 0.1) * dice.standard_t(3, shape) / 0.3**0.5,
    "lognormal 1": lambda dice, shape: (dice.lognormal(0, 1, shape) - numpy.exp(0.5)) / 2.161,
    "1 of 10 rows, exponential": lambda dice, shape: (dice.random(shape) < 0.1) * (dice.exponential(size=shape) - 1),
}
"""Differences of rows, of mean 0; those of GAINS have a spread of 1. Their skewness: 0, 0, 2, 1.75, 0, 6.2 and 6.3."""
TOKENS = {
    "same": "each answer has as many tokens",
    "varied": "5 to 300 tokens",
    "short vary": "5 to 300 tokens, and the shorter an answer, the more its loss varies",
    "long rise": "5 to 300 tokens; the loss rises with them, and falls in short answers",
    "long vary": "5 to 300 tokens, and a row's difference is in proportion to them",
}
WRONG = [(kind, tokens) for kind in list(DIFFERENCES)[:5] for tokens in list(TOKENS)[:4]]
BEYOND = [("exponential", "long vary"), ("lognormal 1", "varied"), ("1 of 10 rows, exponential", "varied")]
GAINS = [("normal", 1), ("t of 3 degrees", 1), ("exponential", 1), ("exponential", -1)]
GAIN_AND_NOISE = [(0.03, 0.1), (0.03, 0.2), (0.05, 0.1), (0.05, 0.2)]
"""A share of the base's loss, and the spread of the rows' differences in nats a token."""


def drawn(dice: Dice, kind: str, tokens: str, rows: int) -> tuple[Numbers, Numbers]:
    """Differences whose mean over all tokens is 0 in expectation, and the tokens of the rows: a column a trial."""
    shape = rows, BATCH
    differences = DIFFERENCES[kind](dice, shape)
    if tokens == "same":
        return differences, numpy.ones(shape)
    counts = dice.integers(5, MOST_TOKENS, shape, endpoint=True).astype(float)
    if tokens == "short vary":
        differences *= numpy.sqrt(MEAN_TOKENS / counts)
    elif tokens == "long vary":
        differences *= counts / MEAN_TOKENS
    elif tokens == "long rise":
        all_counts = numpy.arange(5, MOST_TOKENS + 1)
        differences += (counts - (all_counts**2).mean() / MEAN_TOKENS) / MEAN_TOKENS
    return differences, counts


def gained(dice: Dice, kind: str, rows: int, noise: float, gain: float) -> tuple[Numbers, Numbers]:
    """Differences of a model whose loss fell by `gain`, and the tokens."""
    differences, tokens = drawn(dice, kind, "varied", rows)
    return noise * differences - gain * BASE_LOSS, tokens


def called(differences: Numbers, tokens: Numbers) -> Numbers:
    """In how many trials is it better, and worse; and by the percentiles alone."""
    mean, means, p = bootstrapped(differences, tokens)
    beyond = numpy.minimum((means <= 0).sum(0), (means >= 0).sum(0))
    before = 2 * (beyond + 1) / (RESAMPLES + 1)
    told = (p < LOSS_ERROR, before < BEFORE)
    return numpy.array([[(each & (mean < 0)).sum(), (each & (mean > 0)).sum()] for each in told])


def share(trials: int, draw: Callable[[], tuple[Numbers, Numbers]]) -> tuple[list[float], list[float]]:
    """Better and worse in % of the trials, and by the percentiles alone."""
    batches = -(-trials // BATCH)
    found = numpy.sum([called(*draw()) for _ in range(batches)], axis=0)
    now, before = (100 * found / (batches * BATCH)).round(2).tolist()
    return now, before


def wrong(rows: int, trials: int) -> Iterator[dict[str, Any]]:
    """The lines of differences of mean 0."""
    for what, cells in (("wrong", WRONG), ("beyond", BEYOND)):
        for kind, tokens in cells:
            dice = numpy.random.default_rng([rows, list(DIFFERENCES).index(kind), list(TOKENS).index(tokens)])
            now, before = share(trials, partial(drawn, dice, kind, tokens, rows))
            yield {
                "what": what, "rows": rows, "differences": kind, "tokens": tokens,
                "better": now[0], "worse": now[1], "percentiles": before,
            }  # fmt: skip


def gains(rows: int, trials: int) -> Iterator[dict[str, Any]]:
    """The lines of true gains. A sign of -1: the tail lies on the side of the gain."""
    for kind, sign in GAINS:
        for gain, noise in GAIN_AND_NOISE:
            dice = numpy.random.default_rng(rows)
            now, before = share(trials, partial(gained, dice, kind, rows, sign * noise, gain))
            yield {
                "what": "gain", "rows": rows, "differences": f"{'-' if sign < 0 else ''}{kind}", "gain": gain,
                "noise": noise, "better": now[0], "percentiles": before[0],
            }  # fmt: skip


def main() -> None:
    """Simulate all, from few rows to many."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[50, 64, 100, 200, 500])
    options.add_argument("--trials", type=int, default=20_000)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    for rows in args.rows:
        for lines in (wrong(rows, args.trials), gains(rows, args.trials // 5)):
            for line in lines:
                text = json.dumps(line)
                print(text, flush=True)
                if args.out:
                    with args.out.open("a") as file:
                        file.write(text + "\n")


if __name__ == "__main__":
    main()
