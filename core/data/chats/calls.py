"""Calls of functions, and the functions that may be called, as chat templates want them: in OpenAI's form."""

from typing import Any

from fitune.core.data.values import Row, decoded

ARGUMENTS = ("arguments", "args", "input", "parameters")
"""Names that tools give to the arguments of a call."""


def call_of(value: Any) -> Row | None:
    """A call {"type", "function": {"name", "arguments"}} from any of its common forms; None if it is none.

    Its arguments become an object: OpenAI keeps them as JSON text, which templates would write with its quotes.
    """
    if not isinstance(value, dict):
        return None
    if isinstance(function := value.get("function"), dict):
        inner = {"arguments": decoded(function["arguments"])} if "arguments" in function else {}
        return {**value, "function": {**function, **inner}}
    name, key = value.get("name"), next((key for key in ARGUMENTS if key in value), None)
    if not isinstance(name, str) or key is None:
        return None
    known = {"id": value["id"]} if isinstance(value.get("id"), str) else {}
    return {**known, "type": "function", "function": {"name": name, "arguments": decoded(value[key])}}


def calls_of(value: Any) -> list[Row]:
    """The calls in a value that holds nothing else: one, or a list of them, perhaps as JSON text. Empty if not."""
    value = decoded(value)
    calls = [call_of(each) for each in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call] if all(calls) else []


def tools_of(row: Row) -> list[Any]:
    """The functions that a row says may be called."""
    listed = decoded(row.get("tools") or row.get("functions"))
    if not isinstance(listed, list):
        return []
    return [
        {"type": "function", "function": tool} if isinstance(tool, dict) and _is_bare(tool) else tool for tool in listed
    ]


def _is_bare(tool: dict[str, Any]) -> bool:
    return "name" in tool and not {"type", "function"} & tool.keys()
