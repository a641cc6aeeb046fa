"""Rows that must not be learned as they are: those with sound or films, good and bad answers, or single messages."""

from collections.abc import Sequence

from fitune.core.data.chats.speakers import ROLE_OF_FLAG, role_of
from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.kinds.compared import compared
from fitune.core.data.shapes.kinds.images import refused
from fitune.core.data.shapes.names import plain
from fitune.core.data.shapes.readings import names_speakers
from fitune.core.data.shapes.shape import Reading, Shape, as_toml
from fitune.core.errors import Problem

MOST = 0.6


def special(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """The reason why these rows need another training than that on answers, if they do."""
    return refused(table, best) or compared(table, best) or _messages(table, best)


def _messages(table: Sequence[Column], best: Reading | None) -> Shape | None:
    """Chats of which each row holds a single message: put together by their conversation, where the user says so."""
    roles = [column for column in table if "role" in column.roles and _are_speakers(column) and "." not in column.name]
    contents = [column for column in table if "content" in column.roles and column.kind == "text"]
    if not contents or not (roles or best is None):
        return None
    if flag := next((each for each in table if plain(each.name) in ROLE_OF_FLAG and each.kind == "yes_no"), None):
        why = f"each row is a single message of a chat: {flag.name} says if the user speaks"
        return _single_messages(f"{why}, and no answer stands beside its question.", contents[0])
    if not roles:
        return _unknown_speakers(table, contents[0])
    found = {"role": roles[0].name, "content": contents[0].name}
    chats = [column for column in table if "conversation" in column.roles and column.values]
    is_tree = any("parent" in plain(column.name) for column in table)
    why = f"each row is a single message of a chat, in {found['role']} and {found['content']}"
    if chats and not is_tree:
        columns = {"conversation": chats[0].name, **found}
        return Shape("messages", columns, False, f"{why}; {chats[0].name} tells the chats apart.", (columns,))
    return _single_messages(f"{why}, and no answer stands beside its question.", contents[0])


def _unknown_speakers(table: Sequence[Column], content: Column) -> Shape | None:
    """Messages of people, of whom nobody is known to be the assistant."""
    speakers = next((each for each in table if names_speakers(each) and each.kind in ("label", "text", "id")), None)
    if speakers is None or speakers is content:
        return None
    names = ", ".join(list(dict.fromkeys(map(str, speakers.values)))[:2])
    why = f"each row is a single message of a chat, and {speakers.name} ({names}) does not say who is the assistant."
    return _single_messages(why, content)


def _single_messages(why: str, content: Column) -> Shape:
    fix = 'Write a row for each chat: {"messages": [{"role": "user", "content": ...}, ...]}'
    fix = f"{fix}; or learn the texts alone: data.columns = {as_toml({'text': content.name})}."
    problem = Problem(f"column {content.name}", why, fix)
    return Shape("unknown", {}, False, "each row is one message of a chat.", ({"text": content.name},), (problem,))


def _are_speakers(column: Column) -> bool:
    known = [role_of(value) is not None for value in column.values]
    return bool(known) and sum(known) >= MOST * len(known)
