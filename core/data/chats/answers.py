"""Rows with answers that are compared: a better and a worse one to a question, or each rated good or bad."""

from collections.abc import Callable, Mapping
from itertools import takewhile

from fitune.core.data.chats.speakers import role_of
from fitune.core.data.chats.turns import speaker_of, turns_of
from fitune.core.data.shapes.kinds.ratings import is_good, winner_of
from fitune.core.data.values import Row, Skip, cell, decoded, filled

Convert = Callable[[Row], list[Row]]
Read = Callable[[str, Mapping[str, str]], Convert]
"""How rows with one answer are read, by their format and columns: core.data.canonical.converter."""


def preferences(columns: Mapping[str, str], read: Read) -> Convert:
    """Rows with a better and a worse answer: each read by itself, below the same question."""
    if "winner" in columns:
        return _by_winner(columns, read)
    better, worse = (_with_answer(columns, columns[role], read) for role in ("chosen", "rejected"))

    def convert(row: Row) -> list[Row]:
        texts = [decoded(cell(row, columns[role])) for role in ("chosen", "rejected")]
        are_bare = [type(text) is str and turns_of(text) is None for text in texts]
        if "prompt" not in columns and all(are_bare):
            return [_behind_common_beginning(*texts)]
        (one,) = better(row)
        *chat, answer = one["messages"]
        if "prompt" not in columns and are_bare[1]:  # the worse answer stands alone beside the whole chat
            other_chat, rejected = chat, {"role": "assistant", "content": filled(row, columns["rejected"])}
        else:
            *other_chat, rejected = worse(row)[0]["messages"]
        if chat != other_chat or {answer["role"], rejected["role"]} != {"assistant"}:
            raise Skip("apart", "its two answers do not end the same chat.")
        if answer == rejected:
            raise Skip("equal", "its two answers are the same.")
        return [{**one, "messages": [*_only_asked(chat), answer], "rejected": rejected}]

    return convert


def _by_winner(columns: Mapping[str, str], read: Read) -> Convert:
    """Rows in which a column says which of two answers is the better one."""
    others = {role: name for role, name in columns.items() if role not in ("chosen", "rejected", "winner")}
    names, winner = (columns["chosen"], columns["rejected"]), columns["winner"]
    as_they_are, turned = (
        preferences({**others, "chosen": one, "rejected": other}, read) for one, other in (names, names[::-1])
    )

    def convert(row: Row) -> list[Row]:
        place = winner_of(names, cell(row, winner))
        if place is None:
            raise Skip("tie", f"{winner} names neither of its answers.")
        return (turned if place else as_they_are)(row)

    return convert


def _with_answer(columns: Mapping[str, str], answer: str, read: Read) -> Convert:
    """A row read with the answer of one column, which may hold the whole chat."""
    others = {role: columns[role] for role in ("system", "history") if role in columns}
    whole = read("messages", {**others, "messages": answer})
    if "prompt" not in columns:
        return whole
    asked = {"instruction": columns["prompt"], "output": answer, **others}
    if "input" in columns:
        below = read("alpaca", {**asked, "input": columns["input"]})
    else:
        below = read("question_answer", {"question": columns["prompt"], "answer": answer, **others})

    def convert(row: Row) -> list[Row]:
        value = decoded(cell(row, answer))
        turns = turns_of(value) or [] if isinstance(value, list | dict) else []
        return whole(row) if any(role_of(speaker_of(turn)) == "user" for turn in turns) else below(row)

    return convert


def _behind_common_beginning(chosen: str, rejected: str) -> Row:
    """Two texts as a prompt, which is their beginning up to the word where they part, and what follows it."""
    if chosen == rejected:
        raise Skip("equal", "its two answers are the same.")
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    prompt = chosen[: chosen.rfind(" ", 0, same) + 1]
    if not prompt.strip() or not chosen[len(prompt) :].strip() or not rejected[len(prompt) :].strip():
        raise Skip("unasked", "its two answers have no common beginning, and no column holds the question.")
    return {"prompt": prompt, "completion": chosen[len(prompt) :], "rejected": rejected[len(prompt) :]}


def _only_asked(chat: list[Row]) -> list[Row]:
    """A chat of which no answer is learned."""
    return [{**turn, "train": False} if turn["role"] == "assistant" else turn for turn in chat]


def rated(columns: Mapping[str, str], read: Read) -> Convert:
    """Rows whose last answer is good or bad; of a row with two answers one of each."""
    if "chosen" in columns:
        names = {"question": "prompt", "instruction": "prompt"}
        both = preferences({names.get(role, role): column for role, column in columns.items()}, read)
        return lambda row: [each for pair in both(row) for each in _apart(pair)]
    name = columns["label"]
    roles = {"prompt": "question", "completion": "answer"}
    found = {roles.get(role, role): column for role, column in columns.items() if role != "label"}
    fmt = "messages" if "messages" in found else "alpaca" if "instruction" in found else "question_answer"
    make = read(fmt, found)

    def convert(row: Row) -> list[Row]:
        good = is_good(name, cell(row, name))
        if good is None:
            raise Skip("rating", f"{name} says neither good nor bad.")
        made = []
        for each in make(row):
            *chat, answer = each["messages"]
            if answer["role"] != "assistant" or answer.get("train") is False:
                raise Skip("empty", "it does not end with an answer.")
            made.append({**each, "messages": [*_only_asked(chat), answer], "label": good})
        return made

    return convert


def _apart(pair: Row) -> list[Row]:
    """A row with two answers as two rows with one, good and bad."""
    rejected = pair["rejected"]
    common = {key: value for key, value in pair.items() if key != "rejected"}
    if "messages" not in pair:
        return [{**common, "label": True}, {**common, "completion": rejected, "label": False}]
    return [{**common, "label": True}, {**common, "messages": [*pair["messages"][:-1], rejected], "label": False}]
