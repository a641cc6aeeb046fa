"""The shapes of training rows: recognise which one a source uses, and turn its rows into fitune's own.

Canonical rows are {"messages": [...]}, {"prompt": str, "completion": str} or {"text": str}. Pure: no IO.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from core.errors import Problem
from core.recipe_fields import Data

Row = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "question": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "answer": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool",
}  # fmt: skip
"""What chat data calls its speakers, and what chat templates call them."""

CHAT_NAMES = ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns")
PAIR_NAMES = (
    ("question", "answer"), ("prompt", "response"), ("instruction", "response"), ("query", "response"),
    ("question", "response"), ("input", "output"), ("user", "assistant"), ("problem", "solution"), ("query", "answer"),
    ("question", "output"), ("prompt", "output"), ("prompt", "answer"), ("instruction", "answer"),
    ("instruction", "completion"), ("input", "target"), ("inputs", "targets"), ("source", "target"), ("human", "gpt"),
    ("question", "solution"), ("problem", "answer"), ("context", "response"), ("document", "summary"),
)  # fmt: skip
TEXT_NAMES = ("text", "content", "document", "body", "raw_content")
SYSTEM_NAMES = ("system", "system_prompt", "system_message")
MAPPABLE = (
    "prompt", "completion", "system", "messages", "text", "instruction", "input", "output", "question", "answer",
)  # fmt: skip
"""Roles that `data.columns` may map."""
FORMAT_ROLES = {
    "messages": ("messages",),
    "sharegpt": ("messages",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
    "question_answer": ("question", "answer"),
    "text": ("text",),
}
"""The columns a format can't do without."""


class Skip(Exception):  # noqa: N818 - not an error of the program: this row can't be trained on
    """A row that can't be used; `kind` groups the same reason, `text` says it in a sentence."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@dataclass(frozen=True, slots=True)
class Shape:
    """How a source's rows are read."""

    format: str
    """One of recipe_fields.DataFormat but auto; or `preference`, or `unknown`, which can't be trained on."""
    columns: Mapping[str, str]
    """Role -> column."""
    sure: bool
    why: str
    """One sentence: what it was recognised by."""
    candidates: tuple[Mapping[str, str], ...] = ()
    """Mappings to choose from when it is not sure."""
    problems: tuple[Problem, ...] = ()
    """Why rows can't be read this way."""


def recognise(rows: Sequence[Row], data: Data) -> Shape:
    """The shape of a source, from its first rows. rows: raw rows, at least one; data: the user's format and columns."""
    columns = columns_of(rows)
    if data.columns:
        return _mapped(rows, columns, data)
    shape = _guess(rows, columns)
    if data.format not in ("auto", shape.format):
        shape = _asked(columns, data.format, shape)
    return replace(shape, columns=_with_system(shape, columns))


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every column of these rows, in order of first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _guess(rows: Sequence[Row], columns: list[str]) -> Shape:
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    if "chosen" in by_name and "rejected" in by_name:
        return _preference(by_name)
    for name in CHAT_NAMES:
        if name in by_name and (keys := _chat_keys(rows, by_name[name])):
            fmt = "sharegpt" if "from" in keys else "messages"
            return Shape(fmt, {"messages": by_name[name]}, True, f"the column {by_name[name]} holds chat turns.")
    if "instruction" in by_name and ("output" in by_name or "instances" in by_name):
        return _alpaca(by_name)
    if "prompt" in by_name and "completion" in by_name:
        found = {"prompt": by_name["prompt"], "completion": by_name["completion"]}
        return Shape("prompt_completion", found, True, "the columns are named prompt and completion.")
    for asks, answers in PAIR_NAMES:
        if asks in by_name and answers in by_name:
            found = {"question": by_name[asks], "answer": by_name[answers]}
            return Shape("question_answer", found, True, f"the columns are named {asks} and {answers}.")
    return _guess_by_content(rows, columns, by_name)


def _alpaca(by_name: Mapping[str, str]) -> Shape:
    if "output" not in by_name:
        found = {"instruction": by_name["instruction"], "instances": by_name["instances"]}
        return Shape("alpaca", found, True, "an instruction with a list of instances (input, output).")
    found = {role: by_name[role] for role in ("instruction", "input", "output") if role in by_name}
    return Shape("alpaca", found, True, f"the columns are named {', '.join(found)}.")


def _preference(by_name: Mapping[str, str]) -> Shape:
    chosen = by_name["chosen"]
    hint = {"prompt": by_name["prompt"], "completion": chosen} if "prompt" in by_name else {"messages": chosen}
    problem = Problem(
        f"columns {chosen}, {by_name['rejected']}",
        "these are preference pairs (chosen and rejected answers), which fitune does not train on.",
        f"To learn the chosen answers only, set data.columns = {_toml(hint)}.",
    )
    return Shape("preference", {}, True, "there are columns chosen and rejected.", (hint,), (problem,))


def _guess_by_content(rows: Sequence[Row], columns: list[str], by_name: Mapping[str, str]) -> Shape:
    for column in columns:
        if keys := _chat_keys(rows, column):
            fmt = "sharegpt" if "from" in keys else "messages"
            return Shape(fmt, {"messages": column}, True, f"the column {column} holds chat turns.")
    texts = [name for name in columns if any(isinstance(row.get(name), str) and row[name] for row in rows)]
    for name in TEXT_NAMES:
        if name in by_name and by_name[name] in texts:
            return Shape("text", {"text": by_name[name]}, len(texts) == 1, f"there is a column named {by_name[name]}.")
    if len(texts) == 1:
        return Shape("text", {"text": texts[0]}, len(columns) == 1, f"{texts[0]} is the only column with text.")
    if len(texts) == 2:
        pairs = ({"question": texts[0], "answer": texts[1]}, {"question": texts[1], "answer": texts[0]})
        return Shape("question_answer", pairs[0], False, f"{texts[0]} and {texts[1]} are the columns with text.", pairs)
    pairs = tuple({"question": one, "answer": other} for one in texts for other in texts if one != other)[:6]
    problem = Problem(
        "data.columns",
        f"fitune can't tell which column is what: {', '.join(columns[:12]) or 'there are none'}.",
        'Say it in the recipe: columns = {prompt = "YOUR_COLUMN", completion = "YOUR_COLUMN"}.',
    )
    return Shape("unknown", {}, False, "no known set of columns.", pairs, (problem,))


def _mapped(rows: Sequence[Row], columns: list[str], data: Data) -> Shape:
    problems = [
        Problem(f"data.columns.{role}", "is not a role.", f"Roles: {', '.join(MAPPABLE)}.")
        for role in data.columns
        if role not in MAPPABLE
    ]
    for role, column in data.columns.items():
        if column not in columns:
            close = difflib.get_close_matches(column, columns, n=1)
            fix = f"Did you mean {close[0]}?" if close else f"Columns: {', '.join(columns[:12])}."
            problems.append(Problem(f"data.columns.{role}", f"there is no column {column}.", fix))
    fmt = _format_of_roles(set(data.columns)) if data.format == "auto" else data.format
    mapping = dict(data.columns)
    if fmt == "question_answer" and "prompt" in mapping and "completion" in mapping:
        mapping = {_AS_PAIR.get(role, role): column for role, column in mapping.items()}
    needed = FORMAT_ROLES.get(fmt, ())
    if missing := [role for role in needed if role not in mapping and role not in columns]:
        fix = f'For example: columns = {{{missing[0]} = "YOUR_COLUMN"}}.'
        problems.append(Problem("data.columns", f"{fmt} also needs {' and '.join(missing)}.", fix))
    if not needed:
        roles = ", ".join(data.columns)
        fix = "Map prompt and completion, or messages, or text."
        problems.append(Problem("data.columns", f"{roles} alone is not enough to train on.", fix))
    mapping |= {role: role for role in needed if role not in mapping and role in columns}
    return Shape(fmt, mapping, True, "the recipe says so.", (), tuple(problems))


_AS_PAIR = {"prompt": "question", "completion": "answer"}


def _format_of_roles(roles: set[str]) -> str:
    if "messages" in roles:
        return "messages"
    if "instruction" in roles:
        return "alpaca"
    if roles & {"question", "answer"}:
        return "question_answer"
    if roles & {"prompt", "completion"}:
        return "prompt_completion"
    if roles & {"input", "output"}:
        return "alpaca"
    return "text" if "text" in roles else "unknown"


def _asked(columns: list[str], fmt: str, guess: Shape) -> Shape:
    """The shape the recipe asks for by name, where the rows were guessed to be something else."""
    if set(guess.columns) >= set(FORMAT_ROLES[fmt]):  # messages and sharegpt differ in name only
        return replace(guess, format=fmt, why="the recipe says so.")
    missing = [role for role in FORMAT_ROLES[fmt] if role not in columns]
    problems = tuple(
        Problem(
            "data.format",
            f"{fmt} needs a column {role}, but the columns are {', '.join(columns[:12])}.",
            f'Use format = "auto", or columns = {{{role} = "YOUR_COLUMN"}}.',
        )
        for role in missing
    )
    found = {role: role for role in (*FORMAT_ROLES[fmt], "input") if role in columns}
    return Shape(fmt, found, True, "the recipe says so.", (), problems)


def _with_system(shape: Shape, columns: list[str]) -> Mapping[str, str]:
    """A system prompt in a column of its own belongs to chat formats."""
    if shape.format in ("unknown", "preference", "text", "prompt_completion"):
        return shape.columns
    found = next((name for name in SYSTEM_NAMES if name in columns and name not in shape.columns.values()), None)
    return {**shape.columns, "system": found} if found else shape.columns


def _chat_keys(rows: Sequence[Row], column: str) -> set[str]:
    """The keys of the chat turns in a column; empty where it holds none."""
    for row in rows:
        turns = decoded(row.get(column))
        if isinstance(turns, list) and turns and isinstance(turns[0], dict):
            keys = set(turns[0])
            if keys & {"role", "from"}:
                return keys
    return set()


def _toml(columns: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{role} = {orjson.dumps(name).decode()}" for role, name in columns.items()) + "}"


def decoded(value: Any) -> Any:
    """A list or object that was stored as JSON text, as itself; everything else unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def converter(shape: Shape) -> Callable[[Row], Iterator[Row]]:
    """A function that turns one raw row into its canonical rows (usually one); it raises Skip."""
    convert = {
        "messages": _from_messages,
        "sharegpt": _from_messages,
        "alpaca": _from_alpaca,
        "prompt_completion": _from_prompt_completion,
        "question_answer": _from_pair,
        "text": _from_text,
    }[shape.format]
    columns = shape.columns
    return lambda row: convert(row, columns)


def _from_text(row: Row, columns: Mapping[str, str]) -> Iterator[Row]:
    text = _string(row, columns["text"])
    if not text.strip():
        raise Skip("empty", f"{columns['text']} is empty.")
    yield {"text": text}


def _from_prompt_completion(row: Row, columns: Mapping[str, str]) -> Iterator[Row]:
    prompt, completion = decoded(row.get(columns["prompt"])), decoded(row.get(columns["completion"]))
    if isinstance(prompt, list) or isinstance(completion, list):
        yield _chat([*_turns(prompt, "user"), *_turns(completion, "assistant")], row, columns)
        return
    asked, answer = _string(row, columns["prompt"]), _answer(row, columns["completion"])
    if "system" in columns:
        yield _chat([_turn("user", asked), _turn("assistant", answer)], row, columns)
    else:
        yield {"prompt": asked, "completion": answer}


def _turns(value: Any, role: str) -> list[Any]:
    return value if isinstance(value, list) else [_turn(role, str(value or ""))]


def _from_pair(row: Row, columns: Mapping[str, str]) -> Iterator[Row]:
    asked, answer = _string(row, columns["question"]), _answer(row, columns["answer"])
    yield _chat([_turn("user", asked), _turn("assistant", answer)], row, columns)


def _from_alpaca(row: Row, columns: Mapping[str, str]) -> Iterator[Row]:
    if "instances" not in columns:
        yield _alpaca_row(row, row, columns)
        return
    instances = decoded(row.get(columns["instances"]))
    if not isinstance(instances, list) or not instances:
        raise Skip("empty", f"{columns['instances']} is empty.")
    inner = {**columns, "input": "input", "output": "output"}
    for instance in instances:
        if not isinstance(instance, dict):
            raise Skip("type", f"{columns['instances']} holds something that is not an object.")
        yield _alpaca_row(row, instance, inner)


def _alpaca_row(row: Row, instance: Row, columns: Mapping[str, str]) -> Row:
    asked = _string(row, columns["instruction"]) if "instruction" in columns else ""
    extra = _string(instance, columns["input"], missing="") if "input" in columns else ""
    answer = _answer(instance, columns["output"])
    asked = "\n\n".join(part for part in (asked, extra) if part.strip())
    return _chat([_turn("user", asked), _turn("assistant", answer)], row, columns)


def _from_messages(row: Row, columns: Mapping[str, str]) -> Iterator[Row]:
    turns = decoded(row.get(columns["messages"]))
    if isinstance(turns, dict):
        turns = decoded(turns.get("messages"))
    if not isinstance(turns, list):
        raise Skip("type", f"{columns['messages']} is {_kind(turns)}, not a list of turns.")
    yield _chat(turns, row, columns)


def _chat(turns: list[Any], row: Row, columns: Mapping[str, str]) -> Row:
    messages = [_message(turn) for turn in turns]
    if "system" in columns and (system := _string(row, columns["system"], missing="")).strip():
        messages.insert(0, _turn("system", system))
    if not any(message["role"] == "assistant" for message in messages):
        raise Skip("no_answer", "has no answer of the assistant to learn from.")
    if not any(m["content"].strip() or m.get("tool_calls") for m in messages if m["role"] == "assistant"):
        raise Skip("empty", "the assistant's answer is empty.")
    canonical: Row = {"messages": messages}
    if isinstance(tools := decoded(row.get("tools")), list) and tools:
        canonical["tools"] = tools
    return canonical


def _message(turn: Any) -> Row:
    if not isinstance(turn, dict):
        raise Skip("type", f"a chat turn is {_kind(turn)}, not an object with role and content.")
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise Skip("role", f"a chat turn has the role {role!r}, which no chat template knows.")
    content = turn.get("content", turn.get("value", turn.get("text")))
    message = _turn(ROLES[role.lower()], _content(content, bool(turn.get("tool_calls"))))
    for key in ("tool_calls", "tool_call_id", "name"):
        if turn.get(key):
            message[key] = decoded(turn[key])
    return message


def _content(content: Any, may_be_missing: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_missing:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        if any(part.get("type", "text") != "text" and part.get(str(part.get("type"))) is not None for part in content):
            raise Skip("image", "holds images or other media; fitune trains on text.")
        return "".join(str(part.get("text") or "") for part in content)
    raise Skip("type", f"the content of a chat turn is {_kind(content)}, not text.")


def _turn(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def _answer(row: Row, column: str) -> str:
    answer = _string(row, column)
    if not answer.strip():
        raise Skip("empty", f"{column} is empty.")
    return answer


def _string(row: Row, column: str, missing: str | None = None) -> str:
    value = row.get(column)
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    if value is None and missing is not None:
        return missing
    if value is None:
        raise Skip("missing", f"has no {column}.")
    raise Skip("type", f"{column} is {_kind(value)}, not text.")


def _kind(value: Any) -> str:
    names = {"list": "a list", "dict": "an object", "NoneType": "missing", "str": "text", "bytes": "bytes"}
    return names.get(type(value).__name__, "a number")
