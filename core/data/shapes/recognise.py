"""Recognise the shape of a source's rows from the first of them, or take the recipe's word for it. Pure: no IO."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fitune.core.data.shapes.chat_readings import transcripts
from fitune.core.data.shapes.chosen import mapped, named
from fitune.core.data.shapes.columns import Column, columns_of, table_of
from fitune.core.data.shapes.kinds.doubts import doubted
from fitune.core.data.shapes.kinds.images import unnamed, with_images
from fitune.core.data.shapes.kinds.objectives import COMPARED, compared_as, only_compared
from fitune.core.data.shapes.kinds.special import special
from fitune.core.data.shapes.readings import by_content, readings
from fitune.core.data.shapes.shape import Reading, Shape, as_toml
from fitune.core.data.shapes.unknown import unknown
from fitune.core.data.shapes.unseen import is_repeated, most_words, unseen_columns, used_columns, words_of
from fitune.core.data.values import Row, cell
from fitune.core.errors import Problem
from fitune.core.recipe import Data

CLOSE = 0.5
"""A second reading, or unseen words, of this share of the words of the best make it a close call."""
OFFERED = 6


def recognise(rows: Sequence[Row], data: Data) -> Shape:
    """The shape of a source. rows: its first raw rows, at least one; data: the recipe's format and columns."""
    table = table_of(rows)
    shape = _recognised(rows, table, data)
    return shape if data.columns else with_images(shape, table)


def _recognised(rows: Sequence[Row], table: Sequence[Column], data: Data) -> Shape:
    if data.columns:
        shape = mapped(rows, columns_of(rows), data)
        if data.format == "auto" and shape.format in COMPARED:
            return replace(shape, problems=(*shape.problems, only_compared(shape.format)))
        return replace(shape, columns=_with_system(shape.format, shape.columns, table))
    if data.format in COMPARED:
        return compared_as(data.format, rows, table)
    shape = _guess(rows, table)
    if data.format == "auto" or (shape.problems and data.format == shape.format):
        return shape
    if data.format == shape.format:
        return replace(shape, sure=True, why="the recipe says so.", candidates=())
    shape = named(columns_of(rows), data.format, shape)
    return replace(shape, columns=_with_system(shape.format, shape.columns, table))


def _guess(rows: Sequence[Row], table: Sequence[Column]) -> Shape:
    found = readings(table)
    best = most_words(table, found)
    if refused := special(table, best):
        return refused
    if best is None:
        offered = [*transcripts(table), *by_content(table)]
        return _judged(offered[0], offered[1:], rows, table) if offered else unnamed(table) or unknown(table)
    return _judged(doubted(best, table), [each for each in found if each is not best], rows, table)


def _judged(best: Reading, found: Sequence[Reading], rows: Sequence[Row], table: Sequence[Column]) -> Shape:
    """The best reading: with a stop where most of the words stay unseen, not sure where it is a close call."""
    columns = _with_system(best.format, best.columns, table)
    rows = [row for row in rows if any(cell(row, name) is not None for name in best.columns.values())]
    table = table_of(rows)  # rows of another kind are left out, which is said elsewhere
    seen = words_of(table, columns)
    unseen = unseen_columns(rows, table, columns)
    unseen_words = sum(column.words for column in unseen)
    rivals = [each.columns for each in found if _is_rival(each, columns, seen, rows, table)]
    offered = [columns, *rivals, *([] if best.sure else best.others)]
    if best.format == "prompt_completion":
        offered.reverse()  # the chat that such a pair most likely is comes first
    close = len(offered) > 1 or not best.sure or unseen_words > CLOSE * seen
    names = tuple(column.name for column in unseen if column.words > (seen + unseen_words) / 10)
    why, stops = best.why, tuple[Problem, ...]()
    if unseen_words > seen:
        offered = [*_with_unseen(columns, unseen[0]), *offered]
        stops = (_most_unseen(unseen, offered),)
    elif close and names:
        why = f"{why} Left out: {', '.join(names)}."
    candidates = tuple(offered[:OFFERED]) if close else ()
    return Shape(best.format, columns, not close, why, candidates, stops, names)


def _is_rival(
    other: Reading, columns: Mapping[str, str], seen: int, rows: Sequence[Row], table: Sequence[Column]
) -> bool:
    """True if another reading has nearly as many words as the best, and not the same ones."""
    if set(other.columns.values()) <= set(columns.values()) or words_of(table, other.columns) < CLOSE * seen:
        return False
    fresh = [each for each in used_columns(table, other.columns) if each.name not in columns.values()]
    return not all(is_repeated(rows, column, columns) for column in fresh)


def _with_unseen(columns: Mapping[str, str], unseen: Column) -> list[Mapping[str, str]]:
    """The mapping with a column that it left out, as thinking before the answer or as a context of the question."""
    asked = next((columns[role] for role in ("question", "instruction", "prompt") if role in columns), None)
    answer = next((columns[role] for role in ("answer", "output", "completion") if role in columns), None)
    if asked is None or answer is None or unseen.kind != "text":
        return []
    if "thinking" in unseen.roles:
        return [{"question": asked, "thinking": unseen.name, "answer": answer}]
    return [] if "input" in columns else [{"instruction": asked, "input": unseen.name, "output": answer}]


def _most_unseen(unseen: Sequence[Column], offered: Sequence[Mapping[str, str]]) -> Problem:
    names = ", ".join(column.name for column in unseen[:3])
    mappings = " or ".join(f"data.columns = {as_toml(each)}" for each in offered[:2])
    text = f"most of the words of these rows are in {names}, which the model would not see."
    return Problem("data.columns", text, f"Say which columns are meant: {mappings}.")


def _with_system(fmt: str, columns: Mapping[str, str], table: Sequence[Column]) -> Mapping[str, str]:
    """A system prompt in a column of its own belongs to the chat."""
    if fmt in ("unknown", "preference", "text", "prompt_completion") or "system" in columns:
        return columns
    beside = {"", *(name.rpartition(".")[0] for name in columns.values())}  # the same objects
    found = (each.name for each in table if "system" in each.roles and each.name.rpartition(".")[0] in beside)
    system = next((name for name in found if name not in columns.values()), None)
    return {**columns, "system": system} if system else columns
