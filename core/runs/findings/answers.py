"""Rules on the answers that a training shows now and then."""

import re
from collections.abc import Iterator

from fitune.core.runs.findings.finding import Finding
from fitune.core.runs.state import RunState

TAIL_CHARS = 800
AGAIN = re.compile(r"(.{1,40}?)\1{9,}.{0,40}\Z", re.DOTALL)
"""The same up to 40 characters ten times in a row, at the end of a text."""
FEWEST, MOST_SHARE = 2, 2 / 3


def garbage(state: RunState) -> Iterator[Finding]:
    """Most of the newest answers repeat themselves without an end, and those before the training did not."""
    answered = [each for each in state.samples if each.after is not None and each.step > 0]
    newest = [each for each in answered if each.step == answered[-1].step]
    spoilt = [each for each in newest if _repeats(each.after) and not _repeats(each.before)]
    if len(newest) < FEWEST or len(spoilt) < MOST_SHARE * len(newest):
        return
    rates = [rate for _, rate in state.lr.points]
    yield Finding(
        kind="garbage",
        symptom="Its answers repeat themselves without an end.",
        evidence=f"{len(spoilt)} of {len(newest)} do so after step {newest[0].step}, and did not before the training.",
        cause="The learning rate is too high, or the ends of the answers are not trained: they are cut, or missing in "
        "the model's template.",
        remedy="See in the data view whether each answer ends with a trained mark (fitune data SOURCE --model ID); if "
        "so, take half the rate.",
        set={"train.lr": float(f"{max(rates) / 2:.2g}")} if rates else {},
        step=newest[0].step,
    )


def _repeats(text: str | None) -> bool:
    return bool(text and AGAIN.search(text[-TAIL_CHARS:]))
