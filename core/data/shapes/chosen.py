"""The shape that a recipe asks for: by data.columns, or by data.format."""

import difflib
from collections.abc import Mapping, Sequence

from fitune.core.data.chats.grouped import GROUPING
from fitune.core.data.shapes.names import plain
from fitune.core.data.shapes.shape import MAPPABLE, NEEDED, Shape
from fitune.core.data.values import cell
from fitune.core.errors import Problem
from fitune.core.recipe import Data

SAME_ROLE = {
    "prompt_completion": {"question": "prompt", "input": "prompt", "answer": "completion", "output": "completion"},
    "question_answer": {"prompt": "question", "input": "question", "completion": "answer", "output": "answer"},
    "alpaca": {"prompt": "instruction", "question": "instruction", "completion": "output", "answer": "output"},
    "preference": {"question": "prompt", "instruction": "prompt"},
    "rated": {"prompt": "question", "completion": "answer"},
}
"""Other names of a role."""
COLUMNS_SHOWN = 12


def mapped(rows: Sequence[Mapping[str, object]], columns: list[str], data: Data) -> Shape:
    """The shape that data.columns describes."""
    fmt = _format_of(data.columns) if data.format == "auto" else data.format
    same = SAME_ROLE.get(fmt, {})
    mapping = {same.get(role, role): column for role, column in data.columns.items()}
    problems = [
        Problem(f"data.columns.{role}", "is not a role.", f"Roles: {', '.join(MAPPABLE)}.")
        for role in data.columns
        if role not in MAPPABLE
    ]
    problems += [
        _no_column(role, name, columns)
        for role, name in data.columns.items()
        if name not in columns and all(cell(row, name) is None for row in rows)
    ]
    nested = fmt == "alpaca" and "instances" in mapping
    needed = ("instruction", "instances") if nested else NEEDED.get(fmt, ())
    if fmt == "question_answer" and "images" in mapping and "question" not in mapping:
        needed = ("answer",)  # the image is the question
    needed = ("conversation", "role", "content") if GROUPING & mapping.keys() else needed
    if fmt == "rated":
        needed = _needed_of_rated(mapping)
    if not needed:
        fix = "Map prompt and completion, or messages, or text."
        problems.append(Problem("data.columns", f"{', '.join(data.columns)} alone is not enough to train on.", fix))
    if missing := [role for role in needed if role not in mapping and role not in columns]:
        fix = f'For example: columns = {{{missing[0]} = "YOUR_COLUMN"}}.'
        problems.append(Problem("data.columns", f"{fmt} also needs {' and '.join(missing)}.", fix))
    mapping |= {role: role for role in needed if role not in mapping}
    return Shape(fmt, mapping, True, "by your choice of columns.", (), tuple(problems))


def named(columns: list[str], fmt: str, guess: Shape) -> Shape:
    """The shape that data.format asks for, where the rows look like something else."""
    same = SAME_ROLE.get(fmt, {})
    found = {same.get(role, role): column for role, column in guess.columns.items()}
    found |= {role: role for role in (*NEEDED[fmt], "input") if role in columns and role not in found}
    problems = tuple(
        Problem(
            "data.format",
            f"{fmt} needs a column {role}, but the columns are {', '.join(columns[:COLUMNS_SHOWN])}.",
            f'Use format = "auto", or columns = {{{role} = "YOUR_COLUMN"}}.',
        )
        for role in NEEDED[fmt]
        if role not in found
    )
    return Shape(fmt, found, True, "the recipe says so.", (), problems)


def _needed_of_rated(mapping: Mapping[str, str]) -> tuple[str, ...]:
    """The roles of rated answers: a chat, or a question with its answer; those of a pair are rated by their columns."""
    if mapping.keys() & {"chosen", "rejected"}:
        return NEEDED["preference"]
    if "instruction" in mapping:
        return ("instruction", "output", "label")
    return ("messages", "label") if "messages" in mapping else ("question", "answer", "label")


def _no_column(role: str, name: str, columns: list[str]) -> Problem:
    close = difflib.get_close_matches(name, columns, n=1)
    fix = f"Did you mean {close[0]}?" if close else f"Columns: {', '.join(columns[:COLUMNS_SHOWN])}."
    return Problem(f"data.columns.{role}", f"there is no column {name}.", fix)


def _format_of(mapping: Mapping[str, str]) -> str:
    """The format that a mapping's roles make. A pair is plain text only where its columns have those very names."""
    if mapping.keys() & {"chosen", "rejected"}:
        return "preference"
    if "label" in mapping:
        return "rated"
    if mapping.keys() & {"messages", *GROUPING}:
        return "messages"
    if mapping.keys() & {"instruction", "instances"} or (
        "input" in mapping and mapping.keys() & {"prompt", "question"}
    ):
        return "alpaca"
    if [plain(mapping.get(role, "")) for role in ("prompt", "completion")] == ["prompt", "completion"]:
        return "prompt_completion"
    if mapping.keys() & {"question", "answer", "prompt", "completion", "input", "output"}:
        return "question_answer"
    return "text" if "text" in mapping else "unknown"
