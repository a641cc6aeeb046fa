"""Rows with more than one answer to learn from: a good one beside a bad one, ranked ones, or answers that are rated."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fitune.core.data.chats.speakers import role_of
from fitune.core.data.chats.turns import speaker_of, turns_of
from fitune.core.data.shapes.columns import Column, filled, has_sentences
from fitune.core.data.shapes.kinds.ratings import rating, refused_ratings, verdicts_of, winner_of
from fitune.core.data.shapes.names import hinted_roles, plain, roles_of
from fitune.core.data.shapes.shape import Reading, Shape, as_toml
from fitune.core.data.shapes.unseen import unseen_columns
from fitune.core.data.values import Row
from fitune.core.errors import Problem

NUMBERED = re.compile(r"^(.*?)_?(?:[abwl]|\d+|one|two)$")
"""The name of one of several columns of a kind: response_a, answer 2."""
VERDICT = (
    "winner",
    "preference",
    "preferred",
    "better",
    "best",
    "choice",
    "chosen",
    "vote",
    "verdict",
    "label",
    "rank",
    "score",
)


def compared(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """The reason why these rows are preference data, if they are. best: the reading of them if they were not."""
    if found := chosen_and_rejected(table):
        chosen, rejected = found
        refused = _compared(f"columns {chosen.name}, {rejected.name}", _good_answers(table, chosen))
        return replace(refused, objectives=("dpo",))
    found_rating = rating(table, best)
    return _rivals(table) or _ranked(table) or (refused_ratings(found_rating) if found_rating else None)


def pairs(rows: Sequence[Row], table: Sequence[Column]) -> Shape | None:
    """The shape of rows with a better and a worse answer in columns of such names; None if they have none."""
    winner = None
    found = chosen_and_rejected(table)
    if found is None and (several := rivals(table)) and (winner := _winner(*several)):
        first, second = several[0]
        found = first, second
    if found is None:
        return None
    chosen, rejected = found
    asked = _good_answers([column for column in table if column is not rejected], chosen)
    roles = {"question": "prompt", "instruction": "prompt", "input": "input"}
    columns = {roles[role]: name for role, name in asked.items() if role in roles}
    columns |= {"chosen": chosen.name, "rejected": rejected.name}
    for role in ("system", "history"):
        names = [each.name for each in table if role in each.roles and each.name not in columns.values()]
        columns |= {role: names[0]} if names else {}
    columns |= {"winner": winner.name} if winner else {}
    unseen = tuple(column.name for column in unseen_columns(rows, table, columns))
    why = f"{winner.name} says which is better." if winner else f"{chosen.name} is better than {rejected.name}."
    return Shape("preference", columns, True, why, unseen=unseen)


def chosen_and_rejected(table: Sequence[Column]) -> tuple[Column, Column] | None:
    """A good answer beside a bad one, in columns of such names; None if there are none."""
    rejected = next((column for column in _named(table, "rejected") if _is_words(column)), None)
    if rejected is None:
        return None
    chosen = next((column for column in _named(table, "chosen") if _is_words(column) and column is not rejected), None)
    if chosen is None and not ("rejected" in rejected.roles or "answer" in rejected.hints):
        return None  # a word such as `bad` in its name is not enough
    if chosen is None:
        answers = [each for each in (*filled(table, "answer"), *filled(table, "chat")) if _is_words(each)]
        chosen = next((column for column in answers if column is not rejected), None)
    if chosen is None:
        return None
    return chosen, rejected


def _named(table: Sequence[Column], role: str) -> list[Column]:
    """The columns of a name for this role; else those with a word for it in their names: `good answer`, 好回答."""
    hinted = [each for each in table if role in each.hints and each.kind in ("text", "turns", "label")]
    return filled(table, role) or [each for each in hinted if each.kind != "label" or has_sentences(each)]


def _is_words(column: Column) -> bool:
    if column.kind == "yes_no":  # an answer may be "No.", but not True
        return not verdicts_of(column) <= {"true", "false", "0", "1"}
    return column.kind not in ("empty", "number", "date")


def _compared(where: str, hint: Mapping[str, str]) -> Shape:
    text = "these are preference pairs (a better and a worse answer); training on good answers (sft) learns from one."
    fix = (
        'To learn from both, set train.objective = "dpo"; to learn the chosen answers only, data.columns = '
        f"{as_toml(hint)}."
        if hint
        else 'For train.objective = "dpo" put the better answers into a column chosen, the others into rejected; or '
        "the better ones alone into a column of their own."
    )
    hints = (hint,) if hint else ()
    return Shape(
        "preference", {}, True, "there is a good answer beside a bad one.", hints, (Problem(where, text, fix),)
    )


def _good_answers(table: Sequence[Column], chosen: Column) -> Mapping[str, str]:
    """A mapping that learns the chosen answers, with their questions."""
    value = chosen.values[0]
    turns = (turns_of(value) or []) if isinstance(value, list) or chosen.kind == "text" else []
    if any(role_of(speaker_of(turn)) == "user" for turn in turns if isinstance(turn, dict)):
        return {"messages": chosen.name}
    asks = [each for each in (*filled(table, "question"), *filled(table, "chat")) if each is not chosen and each.values]
    asks = [column for column in asks if column.kind in ("text", "turns", "list", "label")]
    if not asks and chosen.kind == "turns":
        return {"messages": chosen.name}
    others = [each for each in table if each.kind == "text" and not {"chosen", "rejected"} & each.hints]
    if not (asks or others):
        return {"text": chosen.name}
    asks = asks or [max(others, key=lambda column: column.words)]
    asked = max(asks, key=lambda column: ("context" not in column.roles, column.words))
    contexts = [each for each in filled(table, "context") if each not in (asked, chosen) and each.values]
    if contexts:
        return {"instruction": asked.name, "input": contexts[0].name, "output": chosen.name}
    return {"question": asked.name, "answer": chosen.name}


def _rivals(table: Sequence[Column]) -> Shape | None:
    """Several answers in numbered columns, and one that says which is best."""
    found = rivals(table)
    if found is None:
        return None
    answers, judged = found
    refused = _compared(f"columns {', '.join(column.name for column in answers)}", {})
    return replace(refused, objectives=("dpo",)) if _winner(answers, judged) else refused


def rivals(table: Sequence[Column]) -> tuple[list[Column], list[Column]] | None:
    """Several answers in numbered columns, and the columns that may say which is best; None if there are none."""
    stems: dict[str, list[Column]] = {}
    for column in table:
        if (numbered := NUMBERED.match(plain(column.name))) and column.kind in ("text", "turns", "label"):
            stems.setdefault(numbered.group(1), []).append(column)
    answers = next((found for stem, found in stems.items() if len(found) > 1 and _are_answers(stem, found)), None)
    judged = [column for column in table if any(word in plain(column.name) for word in VERDICT)]
    others = [column for column in judged if column not in (answers or ())]
    return (answers, others) if answers and others else None


def _winner(answers: Sequence[Column], judged: Sequence[Column]) -> Column | None:
    """The column whose values name one of two answers, as `a` or `model_a` names response_a; None if none does."""
    if len(answers) != 2:
        return None
    names = [column.name for column in answers]
    for column in judged:
        named = [value for value in column.values if winner_of(names, value) is not None]
        if column.values and len(named) > len(column.values) / 2:
            return column
    return None


def _ranked(table: Sequence[Column]) -> Shape | None:
    """Lists of several answers with a score or a rank for each."""
    numbers = {len(each) for column in table for each in column.values if _are_numbers(each)}
    for column in table:
        several = [each for each in column.values if isinstance(each, list) and len(each) > 1]
        if column.kind in ("list", "turns") and "answer" in column.roles and several:
            items = [item for each in several for item in each if not isinstance(item, int | float)]
            if items and (all(map(_is_scored, items)) or numbers & {len(each) for each in several}):
                return _compared(f"column {column.name}", {})
    return None


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(each, int | float) for each in value)


def _is_scored(item: object) -> bool:
    return isinstance(item, dict) and any({"rating", "note"} & (roles_of(key) or hinted_roles(key)) for key in item)


def _are_answers(stem: str, columns: Sequence[Column]) -> bool:
    """True if columns of this name, but for a number, are answers, or whole chats."""
    named = roles_of(stem) | hinted_roles(stem)
    return bool({"answer", "chosen"} & named) or ("chat" in named and all(each.kind == "turns" for each in columns))
