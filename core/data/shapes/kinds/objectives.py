"""Rows for an objective that compares answers: read as pairs or as rated answers, or the reason why they can't be."""

from collections.abc import Sequence
from dataclasses import replace

from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.kinds.compared import compared, pairs
from fitune.core.data.shapes.kinds.ratings import rated, rating
from fitune.core.data.shapes.readings import readings
from fitune.core.data.shapes.shape import Shape
from fitune.core.data.shapes.unseen import most_words
from fitune.core.data.values import Row
from fitune.core.errors import Problem

COMPARED = ("preference", "rated")
"""Formats of answers that are compared."""
ONE_ANSWER = "these rows hold one answer to each question, and "
CURES = {
    "preference": 'Give each row the columns prompt, chosen and rejected; or set train.objective = "sft".',
    "rated": 'Give each row the columns prompt, completion and label (true or false); or set train.objective = "sft".',
}
WANTS = {
    "preference": "this objective learns from a better and a worse one.",
    "rated": "this objective learns from answers that are rated good or bad.",
}


def compared_as(fmt: str, rows: Sequence[Row], table: Sequence[Column]) -> Shape:
    """The shape of rows that are to be read as pairs ("preference"), or each answer as good or bad ("rated").

    A pair also makes a good and a bad answer.
    """
    best = most_words(table, readings(table))
    found, rates = pairs(rows, table), rating(table, best, asked=fmt == "rated")
    if found:
        return replace(found, format=fmt)
    if rates and best and fmt == "rated":
        return rated(rates, best)
    fitting = ("kto",) if rates else ("sft",) if best and not compared(table, None) else ()
    problems = (_why_not(fmt, table, rates),)
    return Shape("unknown", {}, False, "no column says which answer is better.", (), problems, objectives=fitting)


def only_compared(fmt: str) -> Problem:
    """The problem of a mapping that only an objective which compares answers can use."""
    objective = {"preference": "dpo", "rated": "kto"}[fmt]
    text = "names answers that are compared, and objective = sft learns from good answers alone."
    return Problem("data.columns", text, f'Set train.objective = "{objective}", or map one answer to each question.')


def _why_not(fmt: str, table: Sequence[Column], rates: Column | None) -> Problem:
    if rates:
        text = f"the column {rates.name} rates each answer good or bad, and {WANTS[fmt]}"
        return Problem(f"column {rates.name}", text, 'Set train.objective = "kto", which learns from these.')
    if several := compared(table, None):
        text = "there are several answers to each question, and no column says which is better than which."
        return Problem(several.problems[0].where, text, CURES[fmt])
    return Problem("", f"{ONE_ANSWER}{WANTS[fmt]}", CURES[fmt])
