"""The reason why nothing can be learned from columns, and what to do: as much of it as their content tells."""

from collections.abc import Sequence

from fitune.core.data.chats.speakers import role_of
from fitune.core.data.chats.turns import speaker_of, turns_of
from fitune.core.data.shapes.columns import Column
from fitune.core.data.shapes.names import plain
from fitune.core.data.shapes.readings import pairs_of
from fitune.core.data.shapes.shape import Shape
from fitune.core.errors import Problem

OFFERED = 6
COLUMNS_SHOWN = 12
SPEAKERS_SHOWN = 4
LOOKS = {
    "turns": "chat turns", "label": "a few short values", "id": "ids", "number": "numbers", "yes_no": "yes or no",
    "date": "dates", "path": "addresses", "media": "media", "object": "objects", "list": "lists", "empty": "nothing",
}  # fmt: skip
"""The content of a column, in words; those with text are named without."""
TOKENS = ("input_ids", "attention_mask", "token_ids")
NUMBERS = ("list", "number")


def unknown(table: Sequence[Column]) -> Shape:
    """A shape that can't be used, with the reason."""
    texts = [column for column in table if column.kind == "text"]
    reasons = (_no_columns, _tokens, _no_answers, _no_speakers, _no_known_names)
    problem = next(found for reason in reasons if (found := reason(table)))
    return Shape("unknown", {}, False, "no known set of columns.", tuple(pairs_of(texts)[:OFFERED]), (problem,))


def _no_columns(table: Sequence[Column]) -> Problem | None:
    if table:
        return None
    fix = 'Write a row as {"question": ..., "answer": ...}; fitune data --template question-answer shows some.'
    return Problem("data", "these rows are empty objects: they have no columns.", fix)


def _tokens(table: Sequence[Column]) -> Problem | None:
    """Rows that another program has turned into tokens."""
    found = next((column for column in table if plain(column.name) in TOKENS and column.kind in NUMBERS), None)
    if found is None or any(column.words for column in table):
        return None
    text = "these rows are numbers of tokens, made for one model by another program; fitune trains on text."
    return Problem(f"column {found.name}", text, "Name the file with the texts that they were made of.")


def _no_answers(table: Sequence[Column]) -> Problem | None:
    """Chats in which no assistant speaks."""
    for column in table:
        turns = [turn for value in column.values if isinstance(value, list) for turn in turns_of(value) or []]
        speakers = list(dict.fromkeys(str(speaker_of(turn)) for turn in turns if speaker_of(turn) is not None))
        if not speakers or column.kind not in ("turns", "list"):
            continue
        if any(isinstance(turn, dict) and speaker_of(turn) is None for turn in turns):
            text = "some turns of its chats do not say who speaks."
            return Problem(f"column {column.name}", text, 'Write into each turn: "role": "user", or "assistant".')
        names = ", ".join(speakers[:SPEAKERS_SHOWN])
        if all(map(role_of, speakers)) and "assistant" not in map(role_of, speakers):
            speak = "speaks" if len(speakers) == 1 else "speak"
            text = f"its chats have no answer of an assistant: only {names} {speak}."
            fix = "There is nothing to learn in them: add the answers as turns."
            if "system" in map(role_of, speakers[1:]):
                fix = f"If it is {speakers[-1]} who answers, call it assistant."
            return Problem(f"column {column.name}", text, fix)
        strangers = [name for name in speakers if not role_of(name)]
        if strangers and "assistant" in map(role_of, speakers):
            text = f"its chats have speakers that no chat template knows: {', '.join(strangers[:SPEAKERS_SHOWN])}."
            fix = "Use system, user, assistant; tool_calls of the assistant for calls, tool for what they give."
            return Problem(f"column {column.name}", text, fix)
        if strangers:
            text = f"its chats are between {names}, and nobody is known to be the assistant."
            return Problem(f"column {column.name}", text, "Call the speakers user and assistant.")
    return None


def _no_speakers(table: Sequence[Column]) -> Problem | None:
    """Lists of objects with words, such as turns of a chat whose keys have names of their own."""
    for column in sorted(table, key=lambda column: -column.words):
        turns = [turn for value in column.values if isinstance(value, list) for turn in value]
        if column.kind != "list" or not turns or not all(isinstance(turn, dict) for turn in turns):
            continue
        keys = ", ".join(list(dict.fromkeys(key for turn in turns for key in turn))[:COLUMNS_SHOWN])
        text = f"holds lists of objects with the keys {keys}, and none of them says in a known way who speaks."
        fix = 'If these are chats, write each turn as {"role": "user", "content": ...}, answers with "assistant".'
        return Problem(f"column {column.name}", text, fix)
    return None


def _no_known_names(table: Sequence[Column]) -> Problem:
    by_words = sorted(table, key=lambda column: -column.words)
    names = [f"{each.name} ({LOOKS[each.kind]})" if each.kind in LOOKS else each.name for each in by_words]
    text = f"fitune can't tell what to learn from the columns {', '.join(names[:COLUMNS_SHOWN])}."
    fix = 'Say it in the recipe: columns = {prompt = "YOUR_COLUMN", completion = "YOUR_COLUMN"}.'
    if not any(column.kind in ("text", "turns") for column in table):
        fix = (
            'Write a row as {"question": ..., "answer": ...} or {"messages": [...]}; fitune data --template shows how.'
        )
    return Problem("data.columns", text, fix)
