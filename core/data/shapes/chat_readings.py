"""The ways to read columns that hold chats."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fitune.core.data.chats.speakers import role_of
from fitune.core.data.chats.turns import speaker_of, turns_of
from fitune.core.data.shapes.columns import Column, filled, has_sentences, holds
from fitune.core.data.shapes.shape import Reading

ANSWERED = 0.5
"""Share of the chats that must hold an answer."""


def chats(table: Sequence[Column]) -> Iterator[Reading]:
    """The columns that hold chats, each as a reading."""
    for column in table:
        if column.kind != "turns" or not _is_answered(column):
            continue
        first: Any = next((turn for value in column.values for turn in turns_of(value) or [] if speaker_of(turn)), {})
        fmt = "sharegpt" if "from" in first else "messages"
        found, why = {"messages": column.name}, f"the column {column.name} holds chat turns."
        sure = (column.style == "roles" or "chat" in column.roles) and _is_begun(column)
        if not _is_begun(column):
            why = f"the chats in {column.name} hold no question before an answer: nobody speaks before the assistant."
        if above := _above(table, column):
            why = f"{why} {above.name} may be the system prompt above them."
            yield Reading(fmt, {**found, "system": above.name}, False, why, (found,))
        else:
            yield Reading(fmt, found, sure, why)


def _above(table: Sequence[Column], chat: Column) -> Column | None:
    """A context beside chats, which does not stand in them: where there is no system prompt, it may be one."""
    if any("system" in each.roles for each in table):
        return None
    contexts = [
        each for each in filled(table, "context") if "question" not in each.roles and each.kind in ("text", "label")
    ]
    return next((each for each in contexts if has_sentences(each) and not holds(chat, each)), None)


def _is_answered(column: Column) -> bool:
    """True if somebody else than the user speaks: an answer, or a speaker of a name that is not known."""
    chats = [turns_of(value) or [] for value in column.values]
    answered = [any(role_of(speaker_of(turn)) in ("assistant", None) for turn in chat) for chat in chats]
    return sum(answered) >= ANSWERED * len(answered)


def _is_begun(column: Column) -> bool:
    """True if a user speaks before an answer in any of the first chats; else their question may stand elsewhere, or the
    speakers are swapped."""
    chats = [[role_of(speaker_of(turn)) for turn in turns_of(value) or []] for value in column.values]
    return any(chat and _before_answer(chat) & {"user", None} for chat in chats)


def _before_answer(roles: Sequence[str | None]) -> set[str | None]:
    """Those who speak before the last answer of the assistant."""
    answers = [place for place, role in enumerate(roles) if role == "assistant"]
    return set(roles[: answers[-1]]) if answers else set(roles)


def unanswered(table: Sequence[Column]) -> list[Column]:
    """Chats that end with a question: the answer stands in another column."""
    chats = [each for each in table if each.kind == "turns" and ("chat" in each.roles or each.style == "roles")]
    return [column for column in chats if not _is_answered(column)]


def transcripts(table: Sequence[Column]) -> list[Reading]:
    """Texts in which `Human:` and `Assistant:` speak in turn: a chat, if the user says so."""
    texts = [column for column in table if column.kind == "text" and "text" not in column.roles]
    spoken = [each for each in texts if all(isinstance(value, str) and turns_of(value) for value in each.values)]
    why = "texts in which a user and an assistant speak in turn."
    return [replace(_chat(column), why=f"the column {column.name} holds {why}") for column in spoken]


def _chat(column: Column) -> Reading:
    return Reading("messages", {"messages": column.name}, False, "", ({"text": column.name},))
