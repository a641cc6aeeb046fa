"""Chats of which each row holds one message, put together again by the name of their conversation."""

from collections.abc import Iterator, Mapping, Sequence

from fitune.core.data.values import Row, Skip, cell

GROUPING = {"conversation", "role", "content"}
"""Roles of the columns that make a chat of several rows."""
Batches = Iterator[tuple[Sequence[int], Sequence[Row | Skip]]]


def grouped(batches: Batches, columns: Mapping[str, str]) -> Batches:
    """A row {"messages": [...]} for the rows that follow each other in one conversation, with the number of the first.

    Rows pass as they are where `columns` names no conversation.
    """
    if not columns.keys() >= GROUPING:
        yield from batches
        return
    begun: set[int] = set()
    held: list[Row] = []
    chat, start = "", 0
    for numbers, rows in batches:
        for number, row in zip(numbers, rows, strict=True):
            name = "" if isinstance(row, Skip) else str(cell(row, columns["conversation"]))
            if held and name != chat:
                yield (start,), [_chat(held, chat, begun)]
                held = []
            if isinstance(row, Skip):
                yield (number,), [row]
            else:
                chat, start = name, start if held else number
                held.append({role: cell(row, columns[role]) for role in ("role", "content")})
    if held:
        yield (start,), [_chat(held, chat, begun)]


def _chat(messages: list[Row], name: str, begun: set[int]) -> Row | Skip:
    """The chat of these messages; a Skip where it began before, among other rows, and so has no end."""
    if hash(name) in begun:
        return Skip("scattered", f"continues the conversation {name}, whose rows don't stand together.")
    begun.add(hash(name))
    return {"messages": messages}
