"""Recognise the shape of a source's rows from the first of them, or take the recipe's word for it. Pure: no IO."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from fitune.core.data.canonical import CHAT_NAMES, Row, decoded, turns_of
from fitune.core.errors import Problem
from fitune.core.recipe import Data

PAIR_NAMES = (
    ("question", "answer"), ("prompt", "response"), ("instruction", "response"), ("query", "response"),
    ("question", "response"), ("input", "output"), ("user", "assistant"), ("problem", "solution"), ("query", "answer"),
    ("question", "output"), ("prompt", "output"), ("prompt", "answer"), ("instruction", "answer"),
    ("instruction", "completion"), ("input", "target"), ("inputs", "targets"), ("source", "target"), ("human", "gpt"),
    ("question", "solution"), ("problem", "answer"), ("context", "response"), ("document", "summary"),
)  # fmt: skip
"""Two-column data sets whose meaning is plain from the names."""
CHAT_FORMATS = ("messages", "sharegpt")
TEXT_NAMES = ("text", "content", "document", "body", "raw_content")
LABEL_NAMES = {"label", "labels", "class", "category", "target", "sentiment", "intent"}
PAIRS_OFFERED = 6
SYSTEM_NAMES = ("system", "system_prompt", "system_message")
MAPPABLE = (
    "prompt", "completion", "system", "messages", "text", "instruction", "input", "output", "instances", "question",
    "answer",
)  # fmt: skip
"""Roles that `data.columns` may map."""
NEEDED = {
    "messages": ("messages",),
    "sharegpt": ("messages",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
    "question_answer": ("question", "answer"),
    "text": ("text",),
}
"""The columns a format can't do without."""
SAME_ROLE = {
    "prompt_completion": {"question": "prompt", "input": "prompt", "answer": "completion", "output": "completion"},
    "question_answer": {"prompt": "question", "input": "question", "completion": "answer", "output": "answer"},
    "alpaca": {"prompt": "instruction", "question": "instruction", "completion": "output", "answer": "output"},
}
"""What else people call a role."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a source's rows are read."""

    format: str
    """One of recipe_fields.DataFormat but auto; or `preference` or `unknown`, which can't be trained on."""
    columns: Mapping[str, str]
    """Role -> column."""
    sure: bool
    why: str
    """One sentence: what it was recognised by."""
    candidates: tuple[Mapping[str, str], ...] = ()
    """Values for data.columns to choose from where it is not sure."""
    problems: tuple[Problem, ...] = ()
    """Why rows can't be read this way; empty if they can."""

    @property
    def is_usable(self) -> bool:
        return not self.problems and self.format in NEEDED


def recognise(rows: Sequence[Row], data: Data) -> Shape:
    """The shape of a source. rows: its first raw rows, at least one; data: the recipe's format and columns."""
    columns = columns_of(rows)
    if data.columns:
        shape = _mapped(columns, data)
    else:
        shape = _guess(rows, columns)
        if data.format not in ("auto", shape.format):
            shape = _asked(columns, data.format, shape)
    return replace(shape, columns=_with_system(shape, columns))


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every column of these rows, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def as_toml(columns: Mapping[str, str]) -> str:
    """A mapping as it is written in a recipe: `{prompt = "question"}`."""
    return "{" + ", ".join(f"{role} = {orjson.dumps(name).decode()}" for role, name in columns.items()) + "}"


def _guess(rows: Sequence[Row], columns: list[str]) -> Shape:
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    chats = [by_name[name] for name in CHAT_NAMES if name in by_name]
    if chat := _first_chat(rows, chats):
        return chat
    if "chosen" in by_name and "rejected" in by_name:
        return _preference(rows, by_name["chosen"], by_name["rejected"], by_name.get("prompt"))
    if "instruction" in by_name and ("output" in by_name or "instances" in by_name):
        return _alpaca(by_name)
    if "prompt" in by_name and "completion" in by_name:
        if _is_true_or_false(rows, by_name.get("label")):
            return _rated(by_name["label"])
        found = {"prompt": by_name["prompt"], "completion": by_name["completion"]}
        return Shape("prompt_completion", found, True, "the columns are named prompt and completion.")
    for asks, answers in PAIR_NAMES:
        if asks in by_name and answers in by_name:
            found = {"question": by_name[asks], "answer": by_name[answers]}
            return Shape("question_answer", found, True, f"the columns are named {asks} and {answers}.")
    return _first_chat(rows, columns) or _guess_by_content(rows, columns, by_name)


def _alpaca(by_name: Mapping[str, str]) -> Shape:
    if "output" not in by_name:
        found = {"instruction": by_name["instruction"], "instances": by_name["instances"]}
        return Shape("alpaca", found, True, "there is an instruction with a list of instances (input, output).")
    found = {role: name for role, name in by_name.items() if role in ("instruction", "input", "output")}
    return Shape("alpaca", found, True, f"the columns are named {', '.join(found)}.")


def _first_chat(rows: Sequence[Row], columns: Sequence[str]) -> Shape | None:
    """The first of these columns that holds chat turns."""
    for column in columns:
        for row in rows:
            turns = turns_of(row.get(column))
            if turns and isinstance(turns[0], dict) and {"role", "from"} & set(turns[0]):
                fmt = "sharegpt" if "from" in turns[0] else "messages"
                return Shape(fmt, {"messages": column}, True, f"the column {column} holds chat turns.")
    return None


def _is_true_or_false(rows: Sequence[Row], column: str | None) -> bool:
    return column is not None and any(isinstance(row.get(column), bool) for row in rows)


def _preference(rows: Sequence[Row], chosen: str, rejected: str, prompt: str | None) -> Shape:
    value = next((decoded(row[chosen]) for row in rows if row.get(chosen)), "")
    if isinstance(value, list):
        hint = {"messages": chosen}
    else:
        hint = {"prompt": prompt, "completion": chosen} if prompt else {"text": chosen}
    problem = Problem(
        f"columns {chosen}, {rejected}",
        "these are preference pairs (a chosen and a rejected answer), which fitune does not train on.",
        f"To learn the chosen answers only, set data.columns = {as_toml(hint)}.",
    )
    return Shape("preference", {}, True, "there are columns chosen and rejected.", (hint,), (problem,))


def _rated(label: str) -> Shape:
    problem = Problem(
        f"column {label}",
        "these answers are rated good or bad, and the bad ones would be learnt too.",
        f"Keep the rows whose {label} is true, and remove that column.",
    )
    return Shape("preference", {}, True, "there are columns prompt, completion and label.", (), (problem,))


def _guess_by_content(rows: Sequence[Row], columns: list[str], by_name: Mapping[str, str]) -> Shape:
    chars = {name: sum(len(row[name]) for row in rows if isinstance(row.get(name), str)) for name in columns}
    texts = [name for name in columns if chars[name]]
    labelled = sorted(LABEL_NAMES & set(by_name))
    for name in (*TEXT_NAMES, *(texts if len(texts) == 1 else ())):
        if (column := by_name.get(name, name)) in texts and not labelled:
            found, sure = {"text": column}, len(texts) == 1
            others = () if sure else (found, *_pairs_of(texts, chars))
            return Shape("text", found, sure, f"{column} is taken as plain text.", others)
    if len(texts) == 1 and labelled:
        pair = {"question": texts[0], "answer": by_name[labelled[0]]}
        why = f"{labelled[0]} looks like what is to be answered about {texts[0]}."
        return Shape("question_answer", pair, False, why, (pair, {"text": texts[0]}))
    if len(texts) == 2:
        pairs = _pairs_of(texts, chars)
        return Shape("question_answer", pairs[0], False, f"{texts[0]} and {texts[1]} are the columns with text.", pairs)
    problem = Problem(
        "data.columns",
        f"fitune can't tell what to learn from the columns {', '.join(columns[:12]) or '(there are none)'}.",
        'Say it in the recipe: columns = {prompt = "YOUR_COLUMN", completion = "YOUR_COLUMN"}.',
    )
    return Shape("unknown", {}, False, "no known set of columns.", _pairs_of(texts, chars), (problem,))


def _pairs_of(texts: Sequence[str], chars: Mapping[str, int]) -> tuple[Mapping[str, str], ...]:
    """Pairs to choose from: those with most text first, for numbers and names are no questions."""
    pairs = [(one, other) for one in texts for other in texts if one != other]
    longest = sorted(pairs, key=lambda pair: -chars[pair[0]] - chars[pair[1]])  # of two ways round that of the columns
    return tuple({"question": one, "answer": other} for one, other in longest[:PAIRS_OFFERED])


def _mapped(columns: list[str], data: Data) -> Shape:
    fmt = _format_of(data.columns) if data.format == "auto" else data.format
    same = SAME_ROLE.get(fmt, {})
    mapping = {same.get(role, role): column for role, column in data.columns.items()}
    problems = [
        Problem(f"data.columns.{role}", "is not a role.", f"Roles: {', '.join(MAPPABLE)}.")
        for role in data.columns
        if role not in MAPPABLE
    ]
    problems += [_no_column(role, name, columns) for role, name in data.columns.items() if name not in columns]
    nested = fmt == "alpaca" and "instances" in mapping
    needed = ("instruction", "instances") if nested else NEEDED.get(fmt, ())
    if not needed:
        fix = "Map prompt and completion, or messages, or text."
        problems.append(Problem("data.columns", f"{', '.join(data.columns)} alone is not enough to train on.", fix))
    if missing := [role for role in needed if role not in mapping and role not in columns]:
        fix = f'For example: columns = {{{missing[0]} = "YOUR_COLUMN"}}.'
        problems.append(Problem("data.columns", f"{fmt} also needs {' and '.join(missing)}.", fix))
    mapping |= {role: role for role in needed if role not in mapping}
    return Shape(fmt, mapping, True, "by your choice of columns.", (), tuple(problems))


def _no_column(role: str, name: str, columns: list[str]) -> Problem:
    close = difflib.get_close_matches(name, columns, n=1)
    fix = f"Did you mean {close[0]}?" if close else f"Columns: {', '.join(columns[:12])}."
    return Problem(f"data.columns.{role}", f"there is no column {name}.", fix)


def _format_of(mapping: Mapping[str, str]) -> str:
    """The format that a mapping's roles make. A pair is plain text only where its columns have those very names."""
    if "messages" in mapping:
        return "messages"
    if mapping.keys() & {"instruction", "instances"} or (
        "input" in mapping and mapping.keys() & {"prompt", "question"}
    ):
        return "alpaca"
    if (mapping.get("prompt"), mapping.get("completion")) == ("prompt", "completion"):
        return "prompt_completion"
    if mapping.keys() & {"question", "answer", "prompt", "completion", "input", "output"}:
        return "question_answer"
    return "text" if "text" in mapping else "unknown"


def _asked(columns: list[str], fmt: str, guess: Shape) -> Shape:
    """The shape the recipe asks for by name, where the rows look like something else."""
    same = SAME_ROLE.get(fmt, {})
    found = {same.get(role, role): column for role, column in guess.columns.items()}
    found |= {role: role for role in (*NEEDED[fmt], "input") if role in columns and role not in found}
    problems = tuple(
        Problem(
            "data.format",
            f"{fmt} needs a column {role}, but the columns are {', '.join(columns[:12])}.",
            f'Use format = "auto", or columns = {{{role} = "YOUR_COLUMN"}}.',
        )
        for role in NEEDED[fmt]
        if role not in found
    )
    return Shape(fmt, found, True, "the recipe says so.", (), problems)


def _with_system(shape: Shape, columns: list[str]) -> Mapping[str, str]:
    """A system prompt in a column of its own belongs to the chat."""
    if shape.format in ("unknown", "preference", "text", "prompt_completion") or "system" in shape.columns:
        return shape.columns
    found = next((name for name in SYSTEM_NAMES if name in columns and name not in shape.columns.values()), None)
    return {**shape.columns, "system": found} if found else shape.columns
