"""A raw row as fitune's own rows: {"messages": [...]}, {"prompt": str, "completion": str} or {"text": str}.

A chat row may also carry `tools`. Built for millions of rows: the usual case is a few lookups. Pure: no IO.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import orjson

Row = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "question": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "answer": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool",
}  # fmt: skip
"""What chat data calls its speakers, and what chat templates call them."""
OURS = frozenset(ROLES.values())
CHAT_NAMES = ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns")
"""What columns of chats are called."""
TURN_EXTRAS = ("tool_calls", "tool_call_id", "name")
THOUGHTS = ("reasoning_content", "thinking")
"""Where chat templates look for what the assistant thought: Qwen3, GLM and most others; gpt-oss."""


class Skip(Exception):
    """A row that can't be used; `kind` groups the same reason, `text` says it in a sentence."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


def converter(fmt: str, columns: Mapping[str, str]) -> Callable[[Row], list[Row]]:
    """A function that turns one raw row into its canonical rows (usually one); it raises Skip.

    fmt: one of recipe_fields.DataFormat but auto. columns: role -> column.
    """
    make = {
        "messages": _chats,
        "sharegpt": _chats,
        "alpaca": _instructions,
        "prompt_completion": _plain_pairs,
        "question_answer": _pairs,
        "text": _texts,
    }[fmt]
    return make(columns)


def _texts(columns: Mapping[str, str]) -> Callable[[Row], list[Row]]:
    column = columns["text"]
    return lambda row: [{"text": _filled(row, column)}]


def _plain_pairs(columns: Mapping[str, str]) -> Callable[[Row], list[Row]]:
    asks, answers = columns["prompt"], columns["completion"]

    def convert(row: Row) -> list[Row]:
        prompt, completion = decoded(row.get(asks)), decoded(row.get(answers))
        if isinstance(prompt, list) or isinstance(completion, list):  # TRL's conversational pairs
            return [_chat([*_as_turns(prompt, "user"), *_as_turns(completion, "assistant")], row, columns)]
        asked, answer = _string(row, asks), _filled(row, answers)
        if "system" in columns:
            return [_chat([_turn("user", asked), _turn("assistant", answer)], row, columns)]
        return [{"prompt": asked, "completion": answer}]

    return convert


def _as_turns(value: Any, role: str) -> list[Any]:
    return value if isinstance(value, list) else [_turn(role, value)]


def _pairs(columns: Mapping[str, str]) -> Callable[[Row], list[Row]]:
    asks, answers, system = columns["question"], columns["answer"], columns.get("system")

    def convert(row: Row) -> list[Row]:
        asked, answer = row.get(asks), row.get(answers)
        if type(asked) is not str:
            asked = _string(row, asks)
        if type(answer) is not str or not answer or answer.isspace():
            answer = _filled(row, answers)
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return [{"messages": _with_system(messages, row, system) if system else messages}]

    return convert


def _instructions(columns: Mapping[str, str]) -> Callable[[Row], list[Row]]:
    """Alpaca: instruction, optional input, output; or an instruction with a list of instances (input, output)."""
    if "instances" not in columns:
        return lambda row: [_instruction(row, row, columns)]
    inner = {**columns, "input": "input", "output": "output"}

    def convert(row: Row) -> list[Row]:
        instances = decoded(row.get(columns["instances"]))
        if not isinstance(instances, list) or not instances:
            raise Skip("empty", f"{columns['instances']} is empty.")
        if not all(isinstance(instance, dict) for instance in instances):
            raise Skip("type", f"{columns['instances']} holds something that is not an object.")
        return [_instruction(row, instance, inner) for instance in instances]

    return convert


def _instruction(row: Row, instance: Row, columns: Mapping[str, str]) -> Row:
    asked, answer = _string(row, columns["instruction"]), _filled(instance, columns["output"])
    if "input" in columns and (extra := _string(instance, columns["input"], missing="")).strip():
        asked = f"{asked}\n\n{extra}"
    messages = [_turn("user", asked), _turn("assistant", answer)]
    return {"messages": _with_system(messages, row, columns.get("system"))}


def _chats(columns: Mapping[str, str]) -> Callable[[Row], list[Row]]:
    column = columns["messages"]

    def convert(row: Row) -> list[Row]:
        turns = row.get(column)
        if type(turns) is not list:
            turns = turns_of(turns)
        if row.get(column) is None:
            raise Skip("missing", f"has no {column}.")
        if turns is None:
            raise Skip("type", f"{column} is {kind_name(row.get(column))}, not a list of turns.")
        return [_chat(turns, row, columns)]

    return convert


def turns_of(value: Any) -> list[Any] | None:
    """The chat turns in a value: a list, JSON text of one, an object that holds one, or a struct of lists as
    `datasets` writes to Parquet; None if there are none."""
    value = decoded(value)
    if isinstance(value, dict) and (inner := next((name for name in CHAT_NAMES if name in value), None)):
        value = decoded(value[inner])
    if isinstance(value, dict) and value and all(isinstance(each, list) for each in value.values()):
        value = [dict(zip(value, turn, strict=False)) for turn in zip(*value.values(), strict=False)]
    return value if isinstance(value, list) else None


def _chat(turns: list[Any], row: Row, columns: Mapping[str, str]) -> Row:
    messages = _with_system([_message(turn) for turn in turns], row, columns.get("system"))
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers and all(message["role"] == "system" for message in messages):
        raise Skip("system_only", "holds no turn but a system prompt.")
    if not answers:
        raise Skip("no_answer", "has no answer of the assistant to learn from.")
    if not any(message["content"].strip() or message.get("tool_calls") for message in answers):
        raise Skip("empty", "the assistant's answer is empty.")
    canonical: Row = {"messages": messages}
    if "tools" in row and isinstance(tools := decoded(row["tools"]), list) and tools:
        canonical["tools"] = tools
    return canonical


def _with_system(messages: list[Row], row: Row, column: str | None) -> list[Row]:
    system = _string(row, column, missing="") if column else ""
    return [_turn("system", system), *messages] if system.strip() else messages


def _message(turn: Any) -> Row:
    if type(turn) is not dict:
        turn = _pair_turn(turn)
    role, content = turn.get("role"), turn.get("content")
    if len(turn) == 2 and type(content) is str and type(role) is str and role in OURS:
        return turn  # type: ignore[no-any-return]
    role = role or turn.get("from")
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise Skip("role", f"a turn has the role {role!r}, which no chat template knows.")
    content = turn.get("content", turn.get("value", turn.get("text")))
    message = _turn(ROLES[role.lower()], _content(content, bool(turn.get("tool_calls"))))
    message |= {key: decoded(turn[key]) for key in TURN_EXTRAS if turn.get(key)}
    message |= {key: thought for key in THOUGHTS if isinstance(thought := turn.get(key), str) and thought.strip()}
    if isinstance(calls := message.get("tool_calls"), list):
        message["tool_calls"] = [_call(call) for call in calls]
    return message


def _call(call: Any) -> Any:
    """A tool call whose arguments are an object, as chat templates want them; OpenAI's are JSON text."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or "arguments" not in function:
        return call
    return {**call, "function": {**function, "arguments": decoded(function["arguments"])}}


def _pair_turn(turn: Any) -> Row:
    if isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(each, str) for each in turn):
        return _turn(turn[0], turn[1])
    raise Skip("type", f"a chat turn is {kind_name(turn)}, not an object with role and content.")


def _content(content: Any, may_be_missing: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_missing:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        if any(part.get("type", "text") != "text" for part in content):
            raise Skip("media", "holds images or other media; fitune trains on text.")
        return "".join(str(part.get("text") or "") for part in content)
    raise Skip("type", f"the content of a chat turn is {kind_name(content)}, not text.")


def _turn(role: str, content: Any) -> Row:
    return {"role": role, "content": content}


def _filled(row: Row, column: str) -> str:
    """Text of a column that must not be empty."""
    text = _string(row, column)
    if not text or text.isspace():
        raise Skip("empty", f"{column} is empty.")
    return text


def _string(row: Row, column: str, missing: str | None = None) -> str:
    value = row.get(column)
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not isfinite(value):  # how pandas writes that there is nothing
        value = None
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    if value is None and missing is not None:
        return missing
    if value is None:
        raise Skip("missing", f"has no {column}.")
    raise Skip("type", f"{column} is {kind_name(value)}, not text.")


def decoded(value: Any) -> Any:
    """A list or object that was stored as JSON text, as itself; everything else unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def kind_name(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    names = {"list": "a list", "dict": "an object", "NoneType": "missing", "str": "text", "bytes": "bytes"}
    return names.get(type(value).__name__, "a number" if isinstance(value, int | float) else type(value).__name__)
