"""The scores of a run in plain words: the verdict, the numbers beside it, and rows where the models differ.

The texts hold names of files, which are foreign, so they pass through tui.text.clean here.
"""

from collections.abc import Iterator

from fitune.core.records import from_json, to_json
from fitune.core.runs import Forgot, Preferred, Score
from fitune.core.score import (
    Detail,
    Forgetting,
    Preference,
    RowScore,
    Scores,
    Verdict,
    preference,
    probe,
    sentence,
)
from fitune.tui.text import clean, hanging, number

ANSWERS = "Its own answers, beside the better ones in the data:"
PAIRS = 3
"""Questions that are shown with both answers."""
TEXT_CHARS = 300
DETAILS = {
    "loss": "loss a token of the answers",
    "exact": "same character for character",
    "near": "nearness to the data's answer",
    "valid": "answers of the right form",
    "macro_f1": "macro-F1 of the labels",
}


def verdict_line(score: Score) -> str:
    """A verdict on a run in one sentence."""
    return clean(sentence(from_json(Verdict, to_json(score)), source=score.source))


def preference_line(preferred: Preferred) -> str:
    """What a run learnt to prefer, in a few sentences."""
    return clean(preference.sentence(from_json(Preference, to_json(preferred)), preferred.source))


def forgetting_line(forgot: Forgot) -> str:
    """What a run forgot, in a sentence."""
    return probe.sentence(from_json(Forgetting, to_json(forgot)))


def verdict_lines(score: Score | None, preferred: Preferred | None) -> list[str]:
    """The verdicts of one score: on pairs, if it has that, and on answers."""
    told = [preference_line(preferred)] if preferred else []
    return [*told, *([f"{ANSWERS} {verdict_line(score)}" if preferred else verdict_line(score)] if score else [])]


def score_lines(found: Scores) -> Iterator[str]:
    """Lines of text for the scores of a run, for stdout."""
    if found.preference is not None:
        yield hanging("", clean(preference.sentence(found.preference, found.source)))
        yield ""
    told = clean(sentence(found.verdict, source=found.source))
    yield hanging("", told if found.preference is None else f"{ANSWERS} {told}")
    yield ""
    yield f"  {'':<32}{'before':>9}{'after':>9}   change, 95 % interval"
    for each in found.details:
        yield _detail(each)
    if found.confusion:
        yield ""
        yield "  Labels in the data, and what the tuned model gave:"
        for label, given in found.confusion.items():
            counts = ", ".join(
                f"{clean(name, 40)} {count}" for name, count in sorted(given.items(), key=lambda each: -each[1])
            )
            yield f"  {clean(label, 40):<24} {counts}"
    for row in pairs(found):
        yield ""
        yield from pair_lines(row)
    if found.forgetting is not None:
        yield ""
        yield hanging("", probe.sentence(found.forgetting))


def _detail(each: Detail) -> str:
    interval = "" if each.low is None or each.high is None else f"   {each.low:+.3f} to {each.high:+.3f}"
    return (
        f"  {DETAILS.get(each.name, clean(each.name, 32)):<32}{number(each.base):>9}{number(each.tuned):>9}{interval}"
    )


def pairs(found: Scores, amount: int = PAIRS) -> list[RowScore]:
    """Rows to show with both answers: those that became right, then those that became wrong, then any."""
    kinds = [(False, True), (True, False), (True, True), (False, False)]
    answered = [row for row in found.rows if row.base.answer or row.tuned.answer]
    return sorted(answered, key=lambda row: kinds.index((row.base.right, row.tuned.right)))[:amount]


def pair_lines(row: RowScore) -> Iterator[str]:
    """A question with the answer in the data and those of both models."""
    texts = {"question": row.question, "before": row.base.answer, "after": row.tuned.answer, "right": row.reference}
    for title, text in texts.items():
        yield hanging(f"  {title:<10}", clean(text, TEXT_CHARS))
