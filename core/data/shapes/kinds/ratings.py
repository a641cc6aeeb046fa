"""Answers that a column rates good or bad."""

from collections.abc import Sequence

from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.names import plain
from fitune.core.data.shapes.shape import Reading, Shape
from fitune.core.errors import Problem

NO = {
    "false",
    "0",
    "0.0",
    "-1",
    "no",
    "bad",
    "down",
    "downvote",
    "thumbs_down",
    "thumbs down",
    "dislike",
    "negative",
    "reject",
    "rejected",
    "fail",
    "failed",
    "incorrect",
    "wrong",
    "undesirable",
    "not helpful",
    "unhelpful",
    "schlecht",
    "nein",
    "non",
    "нет",
    "否",
    "👎",
}
YES = {
    "true",
    "1",
    "1.0",
    "yes",
    "good",
    "up",
    "upvote",
    "thumbs_up",
    "thumbs up",
    "like",
    "positive",
    "accept",
    "accepted",
    "pass",
    "passed",
    "correct",
    "right",
    "desirable",
    "helpful",
    "gut",
    "ja",
    "oui",
    "sí",
    "si",
    "да",
    "是",
    "👍",
}
FAULTS = {
    "bad", "hallucination", "hallucinated", "hallucinates", "harmful", "toxic", "error", "flagged", "wrong", "falsch",
    "schlecht", "rejected", "incorrect",
}  # fmt: skip
"""Words in the name of a column that says yes where an answer is bad: is_toxic."""


def is_good(column: str, value: object) -> bool | None:
    """True if an answer is good by the value of a column; None if the value is no yes or no."""
    said = str(value).strip().lower()
    if said not in YES | NO:
        return None
    return (said in YES) != bool(FAULTS & set(plain(column).split("_")))


def winner_of(names: Sequence[str], value: object) -> int | None:
    """The place of the column that a value names, among the columns of two answers: `model_b` names response_b. None
    where it names none, as for a tie."""
    said = plain(str(value))
    ends = [plain(name).rpartition("_")[2] for name in names]
    named = [said in (plain(name), end) or said.endswith(f"_{end}") for name, end in zip(names, ends, strict=True)]
    return named.index(True) if sum(named) == 1 else None


def rating(table: Sequence[Column], best: Reading | None, asked: bool = False) -> Column | None:
    """The column that rates the answers of a reading; None if there is none. best: the reading of the other columns.

    asked: ratings are wanted, so that a column in which the first rows are all good is one, too.
    """
    if best is None or best.format == "text":
        return None
    for column in table:
        verdicts = verdicts_of(column)
        is_rating = column.kind == "yes_no" and "rating" in column.hints and column.name not in best.columns.values()
        if is_rating and (asked or len(verdicts) > 1 or verdicts <= NO):
            return column
    return None


def rated(rating: Column, best: Reading) -> Shape:
    """The shape of rows with answers that a column rates."""
    columns = {**best.columns, "label": rating.name}
    example = next((value for value in rating.values if is_good(rating.name, value)), None)
    told = f"; {example} is good" if example is not None else "; none of the first is good"
    return Shape("rated", columns, True, f"the column {rating.name} rates the answers{told}.")


def refused_ratings(rating: Column) -> Shape:
    """The reason why rated answers are not learned as if all were good."""
    problem = Problem(
        f"column {rating.name}",
        "these answers are rated good or bad (preference data), and the bad ones would be learned too.",
        'To learn from both kinds, set train.objective = "kto". To learn the good ones only, keep the rows whose '
        f"{rating.name} says good, and remove that column.",
    )
    why = f"the column {rating.name} rates the answers."
    return Shape("preference", {}, True, why, (), (problem,), objectives=("kto",))


def verdicts_of(column: Column) -> set[str]:
    """The different values of a column, in lower case."""
    return {str(value).strip().lower() for value in column.values}
