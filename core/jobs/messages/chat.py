"""The messages between a chat and the process that holds its model: a JSON object a line, each a dataclass.

The process sends Phase, Warned, Ready, Text, Answered, Refused, Done and Failed. It is sent Request, or {"stop": true},
which ends the answer that is being written.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import orjson

from fitune.core.records import from_json, to_json
from fitune.core.runs import EventData, Failed, Phase, Warned

Side = Literal["base", "tuned"]
SIDES: tuple[Side, ...] = ("base", "tuned")
Turn = dict[str, Any]
"""A message of a chat: its role, its content, and what the chat template knows beside."""
Ended = Literal["itself", "length", "time", "asked"]


@dataclass(frozen=True, slots=True)
class Question:
    """A row of a data set as far as it can be asked."""

    asked: list[Turn] | str
    """The turns of a chat up to its first answer; or the beginning of a text, for the model to continue."""
    tools: Any
    """The tools that the row offers, as the chat template takes them."""
    shown: str
    """The question as it is shown to people."""
    reference: str
    """The answer in the data."""
    images: tuple[str, ...] = ()
    """The images that it shows: paths, or data URLs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question for both sides, with all that was said before."""

    sides: dict[Side, list[Turn] | str]
    tools: Any = None
    images: dict[Side, tuple[str, ...]] = field(default_factory=dict)
    """All images that the turns of a side mark, in order."""


@dataclass(frozen=True, slots=True)
class Request:
    """A question, and how to write the answers."""

    asked: dict[Side, list[Turn] | str]
    tools: Any
    max_tokens: int
    temperature: float
    images: dict[Side, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""

    type: ClassVar[str] = "ready"
    device: str
    model: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of an answer."""

    type: ClassVar[str] = "text"
    side: Side
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer."""

    type: ClassVar[str] = "answer"
    side: Side
    text: str
    tokens: int
    ended: Ended
    """itself: with a mark that ends an answer; else what cut it: its length, the clock, or the user."""
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that can't be answered. The next one can."""

    type: ClassVar[str] = "refused"
    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Done:
    """Both sides have answered, or were stopped."""

    type: ClassVar[str] = "done"


Message = Phase | Warned | Ready | Text | Answered | Refused | Done | Failed
_KINDS: dict[str, type[Message]] = {
    each.type: each for each in (Phase, Warned, Ready, Text, Answered, Refused, Done, Failed)
}


def to_line(message: Message | EventData) -> bytes:
    """A message or an event of the process as a line."""
    return orjson.dumps({"type": message.type, **to_json(message)}, option=orjson.OPT_APPEND_NEWLINE)


def of_line(line: bytes) -> Message:
    """A message of the process from its line. Raises ValueError if it is none."""
    raw = orjson.loads(line)
    kind = _KINDS.get(raw.get("type"))
    if kind is None:
        raise ValueError(f"no message: {line[:100]!r}")
    return from_json(kind, raw)
