"""The answers of a data set as a whole: labels, ratings, lengths and languages, and what is odd about them."""

from collections import Counter
from collections.abc import Mapping

from fitune.core.data.checks.scan import Scan
from fitune.core.data.checks.sentences import FEW_ROWS, Finding
from fitune.core.data.shapes.shape import Shape
from fitune.core.errors import Problem

LABELS_MOST, ROWS_A_LABEL = 20, 4
"""More kinds of answers than this are no labels, nor are those of which each has fewer rows."""
STRAY, FEW_OF_A_LANGUAGE = 0.005, 0.1
"""A smaller share of a language is an error of the detection; up to the larger one, it may be meant or not."""
ONE_SIDED = 0.8
"""Share of one label from which on it is worth a word."""
RATINGS_MOST, RATINGS_SHOWN = 11, 2
"""A column with more different numbers does not rate; so many are told."""
FEW_AS_LONG, SHARE_AS_LONG = 5, 0.02
"""Answers as long as the longest from which on, and the share of all that they are, they were cut."""


def about_answers(found: Scan, shape: Shape) -> list[Finding]:
    """What is odd about the answers as a whole."""
    return [*_about_labels(found), *_about_ratings(found, shape), *_about_lengths(found), *_about_languages(found)]


def label_shares(found: Scan) -> Mapping[str, float]:
    """The share of each answer, where they are a few labels; empty where they are not."""
    count = sum(found.answers.values())
    if count < FEW_ROWS or not 1 < len(found.answers) <= min(LABELS_MOST, count // ROWS_A_LABEL):
        return {}
    labels = Counter[str]()
    for (label, _), n in found.answers.items():
        labels[label] += n
    return {label: n / count for label, n in labels.most_common()}


def _about_labels(found: Scan) -> list[Finding]:
    """A word where one label stands nearly everywhere, and where labels are mere numbers."""
    labels, count = label_shares(found), sum(found.answers.values())
    if len(found.answers) == 1 and count >= FEW_ROWS:
        (answer, _), fix = next(iter(found.answers)), "The model learns to say this to every question; is that meant?"
        return [Finding("warn", "one_answer", count, Problem("", f'All answers are the same: "{answer}".', fix))]
    if not labels:
        return []
    findings, most = [], next(iter(labels))
    if labels[most] >= ONE_SIDED:
        text = f'{labels[most]:.0%} of the answers are "{most}", one of {len(labels)}.'
        fix = "A model that always says this is as often right: add rows of the others."
        findings.append(Finding("warn", "one_sided", round(labels[most] * count), Problem("", text, fix)))
    if all(label.removeprefix("-").isdecimal() for label in labels) and int(max(labels, key=int)) <= LABELS_MOST:
        text = f"The answers are numbers: {', '.join(sorted(labels, key=int))}. The model learns to write these."
        fix = "If they stand for something (0 for negative ...), write its name in their place: a model knows words."
        findings.append(Finding("warn", "numbers", count, Problem("", text, fix)))
    return findings


def _about_ratings(found: Scan, shape: Shape) -> list[Finding]:
    """A word where a column seems to rate the answers, which are learned alike."""
    findings = []
    for name, values in found.ratings.items() if shape.is_usable and "answer" in shape.columns else ():
        if name not in shape.columns.values() and 1 < len(values) <= RATINGS_MOST:
            low, high = min(values), max(values)
            text = f"the column {name} seems to rate the answers, from {low:g} to {high:g}; all are learned alike."
            problem = Problem("data.columns", text, "Leave out the rows with answers that you do not want.")
            findings.append(Finding("warn", "ratings", sum(values.values()), problem))
    return findings[:RATINGS_SHOWN]


def _about_lengths(found: Scan) -> list[Finding]:
    """A word where so many different answers have the length of the longest that a program must have cut them."""
    count = len(found.as_long)
    if count < max(FEW_AS_LONG, SHARE_AS_LONG * found.close_rows):
        return []
    text = f"{count:,} answers end within a sentence after {found.longest:,} characters, and none has more."
    fix = "If a program cut them, export them anew without a limit: the model learns to stop there."
    return [Finding("warn", "one_length", count, Problem("", text, fix))]


def language_shares(found: Scan) -> Mapping[str, float]:
    count = sum((found.languages or {}).values())
    return {name: n / count for name, n in (found.languages or Counter()).most_common() if n >= max(2, STRAY * count)}


def _about_languages(found: Scan) -> list[Finding]:
    """A word where a few answers are in another language than nearly all others."""
    shares = list(language_shares(found).items())
    few = [(name, share) for name, share in shares[1:] if share <= FEW_OF_A_LANGUAGE]
    if not few:
        return []
    names = ", ".join(f"{name} ({share:.0%})" for name, share in few[:3])
    text = f"Most answers are in {shares[0][0]}, some are in {names}."
    count = sum((found.languages or Counter())[name] for name, _ in few)
    fix = "Are they answers to questions in that language? Else the model learns to change languages."
    return [Finding("warn", "languages", count, Problem("", text, fix))]
