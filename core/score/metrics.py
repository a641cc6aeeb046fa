"""The metrics: which one suits the answers in the data, and what each says of one answer."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fitune.core.score.answers import (
    NUMBER,
    fields,
    final_number,
    is_json,
    json_value,
    normalised,
    tool_calls,
    visible,
    word_count,
    words,
)

Metric = Literal["tool_call", "json", "label", "choice", "number", "match", "text"]
ONLY_NUMBER = re.compile(rf"[^\w.+-]*(?:{NUMBER.pattern})\W*(?:[^\W\d_]\w*)?\W*")
"""A number, perhaps with its unit, and no second one as in a time, a date or a fraction."""
NEARLY_ALL = 0.9
"""The share of the answers in the data that must have a shape for it to count as theirs."""
MOST_LABELS, ROWS_PER_LABEL, LABEL_WORDS = 20, 3, 5
SHORT_WORDS = 16
"""Answers of so many words, in the middle one, are compared as a whole; longer ones word by word."""
WORDING: dict[Metric, str] = {
    "tool_call": "the same tool call",
    "json": "the same JSON",
    "label": "the right label",
    "choice": "the right label as the likeliest",
    "number": "the right final number",
    "match": "the right answer",
    "text": "loss a token of the answer (lower is better)",
}
"""What the metric counts, in words."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What an answer is worth beside the one in the data."""

    right: bool
    """True if it is right by the metric; for free text, if it is the same word for word."""
    near: float
    """How near it is, 0 to 1: field F1 of JSON, chrF of free text, else token F1."""
    exact: bool
    """True if it is the same character for character, but for spaces around it."""
    valid: bool
    """True if it has the form that the metric needs: it is JSON, a known label, or has a number or a tool call."""


def metric_for(references: Sequence[str]) -> Metric:
    """Choose the metric by the shape of the answers in the data. Raises ValueError without any."""
    if not references:
        raise ValueError("there are no answers to choose a metric by")
    seen = [visible(text) for text in references]

    def nearly_all(found: Sequence[object]) -> bool:
        return sum(map(bool, found)) >= NEARLY_ALL * len(seen)

    if nearly_all([tool_calls(text) and text.lstrip()[:1] not in '"0123456789' for text in seen]):
        return "tool_call"
    if nearly_all([is_json(text) for text in seen]):
        return "json"
    if _are_labels(seen):
        return "label"
    if nearly_all([_is_number(text) for text in seen]):
        return "number"
    lengths = sorted(word_count(text) for text in seen)
    return "match" if lengths[len(lengths) // 2] <= SHORT_WORDS else "text"


def labels_of(references: Sequence[str]) -> tuple[str, ...]:
    """The different labels in the data, the most frequent first, each as it is written most often."""
    written: dict[str, Counter[str]] = {}
    for text in references:
        written.setdefault(normalised(text), Counter())[visible(text)] += 1
    by_count = sorted(written.values(), key=lambda forms: (-forms.total(), min(forms)))
    return tuple(forms.most_common(1)[0][0] for forms in by_count)


def label_in(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer gives: it is that label, or names it and no other one."""
    said = normalised(answer)
    if same := [label for label in labels if normalised(label) == said]:
        return same[0]
    named = [label for label in labels if f" {normalised(label)} " in f" {said} "]
    named = [one for one in named if not any(one != two and normalised(one) in normalised(two) for two in named)]
    return named[0] if len(named) == 1 else None


def mark(metric: Metric, reference: str, answer: str, labels: Sequence[str] = ()) -> Mark:
    """Mark one answer. labels: those of the data, for the metric "label"."""
    exact, same = visible(reference) == visible(answer), normalised(reference) == normalised(answer)
    near = token_f1(reference, answer)
    match metric:
        case "tool_call":
            calls = tool_calls(answer)
            return Mark(calls == tool_calls(reference), near, exact, bool(calls))
        case "json":
            if not is_json(answer):
                return Mark(False, 0.0, exact, False)
            if not is_json(reference):  # a few answers in the data may have another form than most
                return Mark(same, near, exact, True)
            wanted, got = json_value(reference), json_value(answer)
            return Mark(wanted == got, overlap(fields(wanted), fields(got)), exact, True)
        case "label":
            label = label_in(answer, labels)
            is_right = label is not None and normalised(label) == normalised(reference)
            return Mark(is_right, float(is_right), exact, label is not None)
        case "number":
            number, wanted_number = final_number(answer), final_number(reference)
            return Mark(same or (number is not None and number == wanted_number), near, exact, number is not None)
    return Mark(same, near, exact, bool(answer.strip()))


def token_f1(reference: str, answer: str) -> float:
    """Harmonic mean of the words found and the words right (SQuAD, Rajpurkar 2016)."""
    return overlap(Counter(words(visible(reference))), Counter(words(visible(answer))))


def overlap(wanted: Counter[str] | Counter[tuple[str, str]], got: Counter[str] | Counter[tuple[str, str]]) -> float:
    """F1 of two bags: twice what they share, by all that they hold."""
    shared = sum((wanted & got).values())  # type: ignore[operator]
    return 2 * shared / total if (total := wanted.total() + got.total()) else 1.0


def macro_f1(pairs: Sequence[tuple[str, str | None]]) -> float:
    """The mean of each label's F1, so that rare labels count as much as frequent ones. pairs: (right, given)."""
    scores = []
    for label in {right for right, _ in pairs}:
        found = sum(right == given == label for right, given in pairs)
        amount = sum(right == label for right, _ in pairs) + sum(given == label for _, given in pairs)
        scores.append(2 * found / amount)
    return sum(scores) / len(scores)


def _are_labels(texts: Sequence[str]) -> bool:
    """True if a few short texts come again and again."""
    kinds = Counter(map(normalised, texts))
    is_short = all(word_count(kind) <= LABEL_WORDS for kind in kinds)
    return is_short and 2 <= len(kinds) <= min(MOST_LABELS, len(texts) / ROWS_PER_LABEL)


def _is_number(text: str) -> bool:
    """True for an answer whose result is a number: marked as such, or all that it says."""
    is_marked = "####" in text or "\\boxed{" in text
    return final_number(text) is not None if is_marked else ONLY_NUMBER.fullmatch(text) is not None
