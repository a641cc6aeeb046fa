"""A raw row as fitune's own rows: {"messages": [...]}, {"prompt": str, "completion": str} or {"text": str}.

A chat row may also carry `tools`, and `images`, whose places are marked in its text. A row with two answers holds the
better one, and the worse beside it as `rejected`: a turn, or a text below a prompt. A rated row carries `label`, true
where its last answer is good. Built for millions of rows: the usual case is a few lookups. Pure: no IO.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fitune.core.data.chats.answers import preferences, rated
from fitune.core.data.chats.calls import calls_of, tools_of
from fitune.core.data.chats.content import said_in
from fitune.core.data.chats.messages import messages_of
from fitune.core.data.chats.turns import is_turn, told_by_values, turns_of
from fitune.core.data.images.chats import with_images
from fitune.core.data.values import Row, Skip, cell, decoded, filled, kind_name, passages_of, text_of

PARTS = ("text", "output_text", "tool_use", "thinking")
"""Types of the parts of an answer, as Anthropic and OpenAI keep it."""
Convert = Callable[[Row], list[Row]]


def converter(fmt: str, columns: Mapping[str, str]) -> Convert:
    """A function that turns one raw row into its canonical rows (usually one); it raises Skip.

    fmt: one of recipe.fields.DataFormat but auto. columns: role -> column.
    """
    make: dict[str, Callable[[Mapping[str, str]], Convert]] = {
        "messages": _chats,
        "sharegpt": _chats,
        "alpaca": _instructions,
        "prompt_completion": _plain_pairs,
        "question_answer": _pairs,
        "text": _texts,
        "preference": lambda given: preferences(given, converter),
        "rated": lambda given: rated(given, converter),
    }
    return make[fmt](columns)


def _texts(columns: Mapping[str, str]) -> Convert:
    column = columns["text"]
    return lambda row: [{"text": filled(row, column)}]


def _plain_pairs(columns: Mapping[str, str]) -> Convert:
    asks, answers = columns["prompt"], columns["completion"]

    def convert(row: Row) -> list[Row]:
        if columns.keys() & {"system", "images"} or _is_chat(row, asks) or _is_chat(row, answers):
            return [_exchange(row, asks, answers, columns)]
        if segments := _segments(decoded(cell(row, asks))):
            return [segments]
        return [{"prompt": text_of(row, asks), "completion": filled(row, answers)}]

    return convert


def _is_chat(row: Row, column: str) -> bool:
    return isinstance(value := decoded(cell(row, column)), list | dict) and bool(_turns_in(value))


def _segments(value: Any) -> Row | None:
    """axolotl's segments {"label", "text"}, of which those with a true label are learned, as prompt and completion."""
    if not (isinstance(value, list) and value and all(isinstance(each, dict) and "label" in each for each in value)):
        return None
    learned = [bool(each["label"]) for each in value]
    if learned != sorted(learned) or not learned[-1]:
        raise Skip("segments", "has a segment that is not learned after one that is.")
    texts = [str(each.get("text") or "") for each in value]
    first = learned.index(True)
    return {"prompt": "".join(texts[:first]), "completion": "".join(texts[first:])}


def _pairs(columns: Mapping[str, str]) -> Convert:
    asks, answers = columns.get("question"), columns["answer"]
    is_plain = not columns.keys() & {"system", "history", "thinking", "images"}

    def convert(row: Row) -> list[Row]:
        if asks is None:  # an image is the question
            return [_finished(_answer(row, answers), row, columns)]
        asked, answer = row.get(asks), row.get(answers)
        if is_plain and _is_prose(asked) and _is_prose(answer) and answer and not answer.isspace():
            return [{"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}]
        return [_exchange(row, asks, answers, columns)]

    return convert


def _is_prose(value: Any) -> bool:
    """True if this is text, and not a list or object that was stored as text."""
    return type(value) is str and value.lstrip()[:1] not in ("[", "{")


def _instructions(columns: Mapping[str, str]) -> Convert:
    """Alpaca: instruction, optional input, output; or an instruction with a list of instances (input, output)."""
    if "instances" not in columns:
        return lambda row: [_instruction(row, row, columns)]
    inner = {**columns, "input": "input", "output": "output"}

    def convert(row: Row) -> list[Row]:
        instances = decoded(cell(row, columns["instances"]))
        if not isinstance(instances, list) or not instances:
            raise Skip("empty", f"{columns['instances']} is empty.")
        if not all(isinstance(instance, dict) for instance in instances):
            raise Skip("type", f"{columns['instances']} holds something that is not an object.")
        return [_instruction(row, instance, inner) for instance in instances]

    return convert


def _instruction(row: Row, instance: Row, columns: Mapping[str, str]) -> Row:
    extra = passages_of(instance, columns["input"]) if "input" in columns else ""
    asked = text_of(row, columns["instruction"], missing="" if extra.strip() else None)
    asked = "\n\n".join(part for part in (asked, extra) if part.strip()) if extra.strip() else asked
    return _finished([{"role": "user", "content": asked}, *_answer(instance, columns["output"])], row, columns)


def _exchange(row: Row, asks: str, answers: str, columns: Mapping[str, str]) -> Row:
    """A question, which may be a whole chat up to it, with its answer."""
    chat = _turns_in(decoded(cell(row, asks)))
    asked = chat or [{"role": "user", "content": text_of(row, asks)}]
    return _finished([*asked, *_answer(row, answers)], row, columns)


def _answer(row: Row, column: str) -> list[Any]:
    """The turns of an answer: text, an object to be learned as JSON, calls of functions, or a turn as it is."""
    value = decoded(cell(row, column))
    if isinstance(value, list | dict):
        if turns := _turns_in(value):
            return turns
        if tools_of(row) and (calls := calls_of(value)):
            return [{"role": "assistant", "content": None, "tool_calls": calls}]
        if (
            isinstance(value, list)
            and value
            and all(isinstance(each, dict) and each.get("type") in PARTS for each in value)
        ):
            return [{"role": "assistant", "content": value}]
    return [{"role": "assistant", "content": filled(row, column)}]


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in PARTS


def _turns_in(value: Any) -> list[Any]:
    """The turns in a list, or in an object that is a turn; none where it is anything else, such as several answers."""
    if is_turn(value):
        return [value]
    turns = turns_of(value) if isinstance(value, list | dict) else None
    if isinstance(value, list) and (any(isinstance(each, str) for each in value) or told_by_values(value)):
        return []  # objects of which one field says patient, another doctor, may be what is to be extracted
    return turns if turns and all(map(is_turn, turns)) else []


def _chats(columns: Mapping[str, str]) -> Convert:
    column = columns.get("messages", "messages")  # which the rows of one conversation are put into

    def convert(row: Row) -> list[Row]:
        turns = cell(row, column)
        if (
            type(turns) is not list
            or not turns
            or type(turns[0]) is not dict
            or not ({"role", "from"} & turns[0].keys())
        ):
            turns = turns_of(turns)
        if cell(row, column) is None:
            raise Skip("missing", f"has no {column}.")
        if turns is None:
            raise Skip("type", f"{column} is {kind_name(cell(row, column))}, not a list of turns.")
        return [_finished(turns, row, columns)]

    return convert


def _finished(turns: list[Any], row: Row, columns: Mapping[str, str]) -> Row:
    """A chat of these turns, with what other columns add to it. Raises Skip where there is nothing to learn in it."""
    earlier = turns_of(cell(row, columns["history"])) or [] if "history" in columns else []
    messages = [message for turn in (*earlier, *turns) for message in messages_of(turn)]
    if "thinking" in columns and (thoughts := text_of(row, columns["thinking"], missing="")).strip():
        messages[-1] = {**messages[-1], "reasoning_content": thoughts}
    messages = _with_system(messages, row, columns.get("system"))
    _check(messages)
    tools = tools_of(row) if "tools" in row or "functions" in row else []
    chat: Row = {"messages": messages, "tools": tools} if tools else {"messages": messages}
    return with_images(chat, row, columns.get("images"))


def _check(messages: list[Row]) -> None:
    """Raise Skip where no answer can be learned. An empty answer among others is marked as not to be learned."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers and all(message["role"] == "system" for message in messages):
        raise Skip("system_only", "holds no turn but a system prompt.")
    if not answers:
        raise Skip("no_answer", "has no answer of the assistant to learn from.")
    if not any(is_said(message) for message in answers):
        raise Skip("empty", "the assistant's answer is empty.")
    for place, message in enumerate(messages):
        if message["role"] == "assistant" and not is_said(message):
            messages[place] = {**message, "train": False}
    if all(messages[place].get("train") is False for place, each in enumerate(messages) if each["role"] == "assistant"):
        raise Skip("all_marked", "all its answers are marked as not to be learned.")


def is_said(message: Row) -> bool:
    """True if an answer holds anything."""
    return bool(message["content"].strip() or message.get("tool_calls"))


def _with_system(messages: list[Row], row: Row, column: str | None) -> list[Row]:
    """The chat under the system prompt of a column of its own; a chat that begins with another one keeps both."""
    if column is None:
        return messages
    value = decoded(cell(row, column))
    system = said_in(value).text if isinstance(value, list | dict) else text_of(row, column, missing="")
    if not system.strip():
        return messages
    if messages and messages[0]["role"] == "system":
        own, *messages = messages
        system = own["content"] if system.strip() in own["content"] else f"{system}\n\n{own['content']}"
    return [{"role": "system", "content": system}, *messages]
