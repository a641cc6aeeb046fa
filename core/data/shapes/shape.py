"""The reading of a source's rows: the format, the columns, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from fitune.core.errors import Problem

CHAT_FORMATS = ("messages", "sharegpt")
MAPPABLE = (
    "prompt", "completion", "system", "messages", "text", "instruction", "input", "output", "instances", "question",
    "answer", "history", "thinking", "conversation", "role", "content", "chosen", "rejected", "label",
    "winner", "images",
)  # fmt: skip
"""Roles that `data.columns` may map."""
NEEDED = {
    "messages": ("messages",),
    "sharegpt": ("messages",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
    "question_answer": ("question", "answer"),
    "text": ("text",),
    "preference": ("chosen", "rejected"),
    "rated": (),
}
"""The columns a format can't do without."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the rows."""

    format: str
    columns: Mapping[str, str]
    """Role -> column."""
    sure: bool
    why: str
    others: tuple[Mapping[str, str], ...] = field(default=())
    """Mappings that are as likely."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The reading of a source's rows."""

    format: str
    """One of recipe.fields.DataFormat but auto; or `vision` or `unknown`, which can't be trained on."""
    columns: Mapping[str, str]
    """Role -> column."""
    sure: bool
    why: str
    """One sentence: what it was recognised by."""
    candidates: tuple[Mapping[str, str], ...] = ()
    """Values for data.columns to choose from where it is not sure."""
    problems: tuple[Problem, ...] = ()
    """The reason why rows can't be read this way; empty if they can."""
    unseen: tuple[str, ...] = ()
    """Columns with words that the model would not see, those with most words first."""
    objectives: tuple[str, ...] = ()
    """Where the recipe's objective can't learn from these rows: those that can."""

    @property
    def is_usable(self) -> bool:
        return not self.problems and self.format in NEEDED


def as_toml(columns: Mapping[str, str]) -> str:
    """A mapping as it is written in a recipe: `{prompt = "question"}`."""
    return "{" + ", ".join(f"{role} = {orjson.dumps(name).decode()}" for role, name in columns.items()) + "}"
