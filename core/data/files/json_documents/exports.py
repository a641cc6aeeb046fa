"""Rows as some programs write them out, without what these programs wrap them in."""

from typing import Any

import orjson

from fitune.core.data.values import Row

LABELS = ("labels", "hypertextlabels", "paragraphlabels", "timeserieslabels")
"""Kinds of marks that Label Studio puts on a part of a text."""
MARKED = ("start", "end", "text")
KINDS: dict[str, type] = {
    "S": str, "N": str, "B": str, "BOOL": bool, "NULL": bool, "L": list, "M": dict, "SS": list, "NS": list, "BS": list,
}  # fmt: skip
"""The types of values in DynamoDB, as the key that stands before a value; and what JSON writes of one."""


def unpacked(value: Any) -> Any:
    """The row in an object that Label Studio, LM Studio or DynamoDB wrote; any other value as it is."""
    if not isinstance(value, dict) or not value:
        return value
    if _are_typed(item := _item(value)):
        return {name: _untyped(each) for name, each in item.items()}
    if _are_annotations(value.get("annotations")) and isinstance(value.get("data"), dict):
        return _labelled(value["data"], value["annotations"]) or value
    messages = value.get("messages")
    if isinstance(messages, list) and messages and all(map(has_versions, messages)):
        system = value.get("systemPrompt")
        begin = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
        return {"messages": begin + [_current(each) for each in messages]}
    return value


def _item(value: Row) -> Any:
    """What an export of DynamoDB, or a record of its stream, holds of a row; else the object itself."""
    inner = value["dynamodb"] if isinstance(value.get("dynamodb"), dict) else value
    return next((inner[key] for key in ("Item", "NewImage") if key in inner), value)


def _are_typed(value: Any) -> bool:
    """True if each field of an object names the type of its value, as DynamoDB does: {"answer": {"S": "Yes."}}."""
    return isinstance(value, dict) and bool(value) and all(map(_is_typed, value.values()))


def _is_typed(value: Any) -> bool:
    if not (isinstance(value, dict) and len(value) == 1):
        return False
    ((kind, inner),) = value.items()
    return kind in KINDS and isinstance(inner, KINDS[kind])


def _untyped(value: Any) -> Any:
    if not _is_typed(value):
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "N":
            return _number(inner)
        case "NULL":
            return None
        case "L":
            return list(map(_untyped, inner))
        case "M":
            return {name: _untyped(each) for name, each in inner.items()}
        case _:
            return inner


def _number(digits: str) -> int | float | str:
    try:
        found = orjson.loads(digits)
    except orjson.JSONDecodeError:
        return digits
    return found if isinstance(found, int | float) else digits


def _are_annotations(value: Any) -> bool:
    """True if this is what Label Studio keeps of those who looked at a task."""
    return isinstance(value, list) and all(isinstance(each, dict) and "result" in each for each in value)


def _labelled(data: Row, annotations: list[Row]) -> Row | None:
    """A task of Label Studio: its data, with what the first annotation that was not given up says of them; None if
    there is none."""
    done = next((each["result"] for each in annotations if not each.get("was_cancelled")), None)
    said: dict[str, list[Any]] = {}
    for result in done if isinstance(done, list) else []:
        if isinstance(result, dict) and isinstance(value := result.get("value"), dict):
            said.setdefault(str(result.get("from_name")), []).extend(_said(value, str(result.get("type"))))
    if not said:
        return None
    single = {name: each[0] if len(each) == 1 and isinstance(each[0], str) else each for name, each in said.items()}
    return {**data, **single}


def _said(value: Row, kind: str) -> list[Any]:
    """The labels, texts or numbers in a result; a label of a part of a text with its place."""
    if kind in LABELS:
        return [{**{key: value.get(key) for key in MARKED}, "labels": value.get(kind)}]
    given = value.get(kind, value.get("text"))
    return given if isinstance(given, list) else [given]


def has_versions(message: Any) -> bool:
    """True if this is a message of LM Studio, which keeps all answers that were made anew."""
    return isinstance(message, dict) and isinstance(versions := message.get("versions"), list) and bool(versions)


def _current(message: Row) -> Row:
    """The version of a message that is shown."""
    versions, shown = message["versions"], message.get("currentlySelected")
    version = versions[shown if isinstance(shown, int) and shown < len(versions) else -1]
    if not isinstance(version, dict):
        return message
    steps = version.get("steps")
    blocks = steps if isinstance(steps, list) else [version]
    parts = [part for block in blocks if isinstance(block, dict) for part in _parts(block)]
    return {"role": version.get("role"), "content": parts}


def _parts(block: Row) -> list[Any]:
    """The parts of a block; those of a block of thoughts are marked as such."""
    parts = block.get("content")
    style = block.get("style")
    is_thought = isinstance(style, dict) and style.get("type") == "thinking"
    texts = parts if isinstance(parts, list) else []
    return [{**part, "type": "thinking"} if is_thought and isinstance(part, dict) else part for part in texts]
