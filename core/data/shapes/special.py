"""Rows that must not be learned as they are: good answers beside bad ones, rated ones, pictures, single messages."""

import re
from collections.abc import Mapping, Sequence

from fitune.core.data.chats.speakers import role_of
from fitune.core.data.chats.turns import speaker_of, turns_of
from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.names import hinted_roles, plain, roles_of
from fitune.core.data.shapes.readings import Reading, filled, names_speakers
from fitune.core.data.shapes.shape import Shape, as_toml
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
)
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
    "dislike",
    "negative",
    "rejected",
    "incorrect",
}
MOST = 0.6


def special(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """Why these rows need another training than that on answers, if they do."""
    compared = _preference(table) or _rivals(table) or _ranked(table)
    return _pictures(table, best) or compared or _rated(table, best) or _messages(table, best)


def _pictures(table: Sequence[Column], best: Reading | None) -> Shape | None:
    found = [column for column in table if "." not in column.name and _shows(column)]
    if not found:
        return None
    hint = (best.columns,) if best else ()
    names = ", ".join(column.name for column in found)
    fix = f"If the text makes sense without them, set data.columns = {as_toml(hint[0])}." if hint else "Remove them."
    text = "pictures or other media belong to these rows, and the model would not see them: fitune trains on text."
    problem = Problem(f"column {names}", text, fix)
    return Shape("vision", {}, True, f"the column {names} holds pictures or other media.", hint, (problem,))


def _shows(column: Column) -> bool:
    """Whether a column holds pictures or sound, or names files of them."""
    if column.kind == "media":
        return "note" not in column.roles or plain(column.name).startswith("file")
    return "media" in column.roles and column.kind in ("path", "object", "list")


def _preference(table: Sequence[Column]) -> Shape | None:
    """A good answer beside a bad one, in columns of such names."""
    rejected = next((column for column in filled(table, "rejected") if _is_words(column)), None)
    if rejected is None:
        return None
    chosen = next((column for column in filled(table, "chosen") if _is_words(column)), None)
    if chosen is None:
        answers = [each for each in (*filled(table, "answer"), *filled(table, "chat")) if _is_words(each)]
        chosen = next((column for column in answers if column is not rejected), None)
    if chosen is None:
        return None
    return _compared(f"columns {chosen.name}, {rejected.name}", _good_answers(table, chosen))


def _is_words(column: Column) -> bool:
    if column.kind == "yes_no":  # an answer may be "No.", but not True
        return not _verdicts(column) <= {"true", "false", "0", "1"}
    return column.kind not in ("empty", "number", "date")


def _compared(where: str, hint: Mapping[str, str]) -> Shape:
    text = "these are preference pairs (a chosen and a rejected answer), which fitune does not train on."
    fix = f"To learn the chosen answers only, set data.columns = {as_toml(hint)}." if hint else (
        "To learn the better answers only, put them into a column of their own."
    )  # fmt: skip
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
    if not asks:
        return {"messages" if chosen.kind == "turns" else "text": chosen.name}
    asked = max(asks, key=lambda column: ("context" not in column.roles, column.words))
    contexts = [each for each in filled(table, "context") if each not in (asked, chosen) and each.values]
    if contexts:
        return {"instruction": asked.name, "input": contexts[0].name, "output": chosen.name}
    return {"question": asked.name, "answer": chosen.name}


def _rivals(table: Sequence[Column]) -> Shape | None:
    """Several answers in numbered columns, and one that says which is best."""
    stems: dict[str, list[Column]] = {}
    for column in table:
        if (numbered := NUMBERED.match(plain(column.name))) and column.kind in ("text", "turns", "label"):
            stems.setdefault(numbered.group(1), []).append(column)
    answers = next((found for stem, found in stems.items() if len(found) > 1 and _is_answer(stem)), None)
    judged = [column for column in table if any(word in plain(column.name) for word in VERDICT)]
    if not answers or all(column in answers for column in judged):
        return None
    return _compared(f"columns {', '.join(column.name for column in answers)}", {})


def _ranked(table: Sequence[Column]) -> Shape | None:
    """Lists of several answers with a score or a rank for each."""
    numbers = {len(each) for column in table for each in column.values if _are_numbers(each)}
    for column in table:
        several = [each for each in column.values if isinstance(each, list) and len(each) > 1]
        if column.kind == "list" and "answer" in column.roles and several:
            items = [item for each in several for item in each]
            if all(map(_is_scored, items)) or numbers & {len(each) for each in several}:
                return _compared(f"column {column.name}", {})
    return None


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(each, int | float) for each in value)


def _is_scored(item: object) -> bool:
    return isinstance(item, dict) and any({"rating", "note"} & roles_of(key) for key in item)


def _is_answer(stem: str) -> bool:
    return bool({"answer", "chosen"} & hinted_roles(stem))


def _rated(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """Answers of which a column says whether they are good."""
    if best is None or best.format == "text":
        return None
    for column in table:
        used = column.name in best.columns.values()
        if (
            column.kind == "yes_no"
            and "rating" in column.roles
            and not used
            and (len(_verdicts(column)) > 1 or _verdicts(column) <= NO)
        ):
            problem = Problem(
                f"column {column.name}",
                "these answers are rated good or bad (preference data), and the bad ones would be learned too.",
                f"Keep the rows whose {column.name} says good, and remove that column.",
            )
            return Shape("preference", {}, True, f"the column {column.name} rates the answers.", (), (problem,))
    return None


def _verdicts(column: Column) -> set[str]:
    return {str(value).strip().lower() for value in column.values}


def _messages(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """Chats of which each row holds a single message: put together by their conversation, where the user says so."""
    roles = [column for column in table if "role" in column.roles and _are_speakers(column)]
    contents = [column for column in table if "content" in column.roles and column.kind == "text"]
    if not contents or not (roles or best is None):
        return None
    if not roles:
        return _strangers(table, contents[0])
    found = {"role": roles[0].name, "content": contents[0].name}
    chats = [column for column in table if "conversation" in column.roles and column.values]
    is_tree = any("parent" in plain(column.name) for column in table)
    why = f"each row is a single message of a chat, in {found['role']} and {found['content']}"
    if chats and not is_tree:
        columns = {"conversation": chats[0].name, **found}
        return Shape("messages", columns, False, f"{why}; {chats[0].name} tells the chats apart.", (columns,))
    return _scattered(f"{why}, and no answer stands beside its question.", contents[0])


def _strangers(table: Sequence[Column], content: Column) -> Shape | None:
    """Messages of people, of whom nobody is known to be the assistant."""
    speakers = next((each for each in table if names_speakers(each) and each.kind in ("label", "text")), None)
    if speakers is None or speakers is content:
        return None
    names = ", ".join(list(dict.fromkeys(map(str, speakers.values)))[:2])
    why = f"each row is a single message of a chat, and {speakers.name} ({names}) does not say who is the assistant."
    return _scattered(why, content)


def _scattered(why: str, content: Column) -> Shape:
    fix = 'Write a row for each chat: {"messages": [{"role": "user", "content": ...}, ...]}'
    fix = f"{fix}; or learn the texts alone: data.columns = {as_toml({'text': content.name})}."
    problem = Problem(f"column {content.name}", why, fix)
    return Shape("unknown", {}, False, "each row is one message of a chat.", ({"text": content.name},), (problem,))


def _are_speakers(column: Column) -> bool:
    known = [role_of(value) is not None for value in column.values]
    return bool(known) and sum(known) >= MOST * len(known)
