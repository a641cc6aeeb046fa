"""Columns whose names say one thing while what they hold says another: such a reading is asked about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fitune.core.data.shapes.columns import FEW_VALUES, Column
from fitune.core.data.shapes.names import words_of_name
from fitune.core.data.shapes.shape import Reading
from fitune.core.data.values import asks

ASKED, ANSWERED = ("question", "instruction", "prompt"), ("answer", "output", "completion")
"""Roles of the two columns."""
Doubt = tuple[str, tuple[Mapping[str, str], ...]]
"""What speaks against a reading, and the mappings that may be meant."""
NEUTRAL = {"input", "prompt", "instruction", "source", "output", "completion", "response", "target", "text"}
"""Words in names that may hold anything: also what to make a question of, and the question."""
CHECKED = ("number", "label", "yes_no", "id", "date")
"""Kinds of columns that hold a result to check by."""
NEARLY_ALL, HARDLY_ANY = 0.8, 0.2
RIGHT = {
    "reference", "references", "correct", "corrected", "gold", "golden", "truth", "truths", "groundtruth",
    "expected", "ideal",
}  # fmt: skip
"""Words in the names of columns that hold what should have been answered."""
AS_LONG = (1 / 4, 4)
"""An answer of more or fewer words, times these, is none to the same question."""


def doubted(reading: Reading, table: Sequence[Column]) -> Reading:
    """The same reading, not sure where the values speak against it: the first reason counts."""
    by_name = {column.name: column for column in table}
    asked = next((by_name.get(reading.columns[role]) for role in ASKED if role in reading.columns), None)
    answer = next((by_name.get(reading.columns[role]) for role in ANSWERED if role in reading.columns), None)
    if asked is None or answer is None:
        return reading
    for why, meant in _doubts(reading, asked, answer, table):
        return replace(reading, sure=False, why=f"{reading.why} {why}", others=(*meant, *reading.others))
    return reading


def _doubts(reading: Reading, asked: Column, answer: Column, table: Sequence[Column]) -> Iterator[Doubt]:
    pair = {"question": asked.name, "answer": answer.name}
    is_named = not all(NEUTRAL & words_of_name(name) for name in pair.values())
    if is_named and _are_swapped(asked, answer) and not _has_context(reading, table):
        why = f"But it is {answer.name} that asks: are the two columns swapped?"
        yield why, ({"question": answer.name, "answer": asked.name},)
    if asked.kind == "turns" and answer.kind in CHECKED:
        yield f"{answer.name} may be what a program checks, not what the assistant says.", ()
    if right := _right_answer(answer, table):
        why = f"{right.name} may hold the right answers, and {answer.name} those of a model, also wrong ones."
        yield why, ({**pair, "answer": right.name}, pair)


def _are_swapped(asked: Column, answer: Column) -> bool:
    """True if nearly all answers end as questions do, and hardly any question does."""
    if len(asked.values) < FEW_VALUES or len(answer.values) < FEW_VALUES:
        return False
    return _asking(answer) >= NEARLY_ALL and _asking(asked) <= HARDLY_ANY


def _asking(column: Column) -> float:
    return sum(asks(str(value)) for value in column.values) / len(column.values)


def _has_context(reading: Reading, table: Sequence[Column]) -> bool:
    """True if the question is asked about a text beside it, as where questions are to be written."""
    return any(column.name == reading.columns.get("input") and column.values for column in table)


def _right_answer(answer: Column, table: Sequence[Column]) -> Column | None:
    """The column that says what should have been answered, where the answers are not called right themselves."""
    if RIGHT & words_of_name(answer.name):
        return None
    least, most = (share * answer.words for share in AS_LONG)
    named = (each for each in table if RIGHT & words_of_name(each.name) and each.kind == "text")
    return next((each for each in named if least <= each.words <= most), None)
