"""The probe: general questions that ship with fitune, which show what a model forgot while it learnt something else.

Base and tuned model answer the same ones. Each has an answer that a program can check: a sum, a fact, the form that was
asked for, a word of another language; and to questions about what is not there, that they deny it. Only the comparison
counts: a check that is now and then too strict or too kind is so for both.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import orjson

from fitune.core.records import from_json
from fitune.core.score import verdict
from fitune.core.score.answers import final_number, normalised, visible
from fitune.core.score.verdict import LEAST_ROWS, Word

Kind = Literal["arithmetic", "facts", "instructions", "languages", "nonsense"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Check = Literal["number", "words", "form", "denial"]
DENIALS = re.compile(
    r"\b(not?|never|none|nobody|nothing|cannot|impossible|fictional|imaginary|unable|unknown|incorrect|sorry|invalid|"
    r"nonsense|zero)\b|n['’]t\b",
    re.IGNORECASE,
)
KNOWS_LITTLE = 0.1
"""A base model that has a smaller share right has little to forget."""
REMEDY = "data.replay = 0.1, fewer epochs or a lower train.lr keep more; a model for one task alone may not need it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A general question and how its answer is checked."""

    kind: Kind
    question: str
    check: Check
    answer: str
    """A right answer."""
    accepted: tuple[str, ...] = ()
    """For "words": one of these must stand in the answer."""
    pattern: str = ""
    """For "form": a regular expression of the whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """A general question with the answers of both models."""

    kind: Kind
    """What it is about."""
    question: str
    """As both were asked."""
    reference: str
    """A right answer."""
    base: str
    """The answer of the base model."""
    tuned: str
    """The answer of the tuned model."""
    base_right: bool
    """True if the base model is right."""
    tuned_right: bool
    """True if the tuned model is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What a model forgot, in numbers: general questions that it and its base answered."""

    word: Word
    """worse: it forgot; better; no different; or can't tell."""
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


def items(path: Path) -> tuple[Item, ...]:
    """The items of a file, a JSON object a line. In their order every beginning is a fair sample of all kinds."""
    lines = path.read_bytes().splitlines()
    return tuple(from_json(Item, orjson.loads(line)) for line in lines)


def is_right(item: Item, answer: str) -> bool:
    """True if an answer passes the check of its item."""
    text = visible(answer)
    match item.check:
        case "number":
            return final_number(text) == float(item.answer)
        case "words":
            said = f" {normalised(text)} "
            return any(f" {normalised(each)} " in said for each in item.accepted)
        case "form":
            return re.fullmatch(item.pattern, text) is not None
    return DENIALS.search(text) is not None


def forgetting(answers: Sequence[ProbeAnswer]) -> Forgetting:
    """Compare both models by their answers to the same questions, of which there must be one."""
    found = verdict.of_answers("match", [each.base_right for each in answers], [each.tuned_right for each in answers])
    lost = {kind: sum(each.base_right - each.tuned_right for each in answers if each.kind == kind) for kind in KINDS}
    most = max(lost, key=lambda kind: lost[kind])
    can_forget = found.base >= KNOWS_LITTLE or found.word != "no different"
    return Forgetting(
        word=found.word if can_forget else "can't tell",
        rows=found.rows,
        base=found.base,
        tuned=found.tuned,
        low=found.low,
        high=found.high,
        p=found.p,
        most=most if lost[most] > 0 else "",
    )


def sentence(found: Forgetting) -> str:
    """What was forgotten, in a sentence; with what keeps more of it."""
    right, before = round(found.tuned * found.rows), round(found.base * found.rows)
    interval = f"95 % interval {round(100 * found.low):+} to {round(100 * found.high):+} points"
    numbers = f"{right:,} of {found.rows:,} general questions right, before {before:,} ({interval})"
    match found.word:
        case "worse":
            most = f", most of all {found.most}" if found.most else ""
            return f"It forgot some of what it could do before: {numbers}{most}. {REMEDY}"
        case "better":
            return f"It forgot nothing: {numbers}."
        case "no different":
            return f"It forgot nothing that shows: {numbers}."
    why = "the difference may be chance"
    if found.base < KNOWS_LITTLE:
        why = "the base model knows too few of them"
    elif found.rows < LEAST_ROWS:
        why = f"they are too few: there was no time for {LEAST_ROWS}, and fitune score asks all"
    return f"What it forgot can't be told: {numbers}; {why}."
