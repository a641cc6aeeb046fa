"""The turns of a chat, whatever list or object they are kept in."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from fitune.core.data.chats.speakers import ROLE_OF_FLAG, role_of
from fitune.core.data.shapes.names import roles_of
from fitune.core.data.values import decoded

CHAT_KEYS = (
    "messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns", "contents", "chat_rounds",
)  # fmt: skip
"""Names of a list of turns within an object."""
SPEAKER_KEYS = ("role", "from", "speaker", "author", "sender", "author_role", "rolle", "rol", "角色")
TYPES = ("human", "ai", "user", "assistant", "system")
"""The speakers that LangChain keeps as the type of a message."""
CONTENT_KEYS = (
    "content", "value", "text", "utterance", "message", "parts", "body", "mes", "data", "inhalt", "contenido", "内容",
)  # fmt: skip
WRAPPINGS = ("response", "body", "choices", "candidates", "output", "message", "content")
"""Keys in the answer of a server of models, outer ones first; of several candidates the first counts."""
SIDES = {"system": "system", "question": "user", "answer": "assistant"}
"""Role of a key in a turn that holds a question with its answer -> the speaker."""
SPEAKS = re.compile(
    r"(?:(?:^|\n)[ \t]*(?:#{2,4} *)?|#{3} *)(human|user|assistant|ai|bot|gpt|system)[ \t]*:[ \t]*", re.IGNORECASE
)
"""The beginning of somebody's words in a text."""
Style = Literal["roles", "pairs", "texts"]
"""The ways to write turns: each with its speaker, a question with its answer, or as texts of the two in turn."""


def turns_of(value: Any) -> list[Any] | None:
    """The turns in a value, each an object with its speaker where that is known; None if there are none.

    Read are a list, JSON or Python text of one, an object that holds one, the tree of a ChatGPT export, a struct of
    lists as `datasets` writes to Parquet, and a text with `Human:` and `Assistant:` in it.
    """
    value = decoded(value)
    if isinstance(value, str):
        return _in_text(value)
    if isinstance(value, dict):
        value = _in_object(value)
    if not isinstance(value, list):
        return None
    if value and all(isinstance(each, str) for each in value):
        return [turn for place, text in enumerate(value) for turn in _alternating(place, text)]
    return told_by_values(value) or [turn for each in value for turn in _sides(each)]


def style_of(value: Any) -> Style | None:
    """The way in which the turns in a list or object are written; None if it holds no turns."""
    value = decoded(value)
    turns = [] if isinstance(value, str) else turns_of(value) or []
    if not turns or not all(map(is_turn, turns)):
        return None
    inner = _in_object(value) if isinstance(value, dict) else value
    if isinstance(inner, list) and isinstance(inner[0], str):
        return "texts"
    if isinstance(inner, list) and (speaker_of(inner[0]) is not None or told_by_values(inner)):
        return "roles"
    is_answered = any(role_of(speaker_of(turn)) == "assistant" for turn in turns)
    return "pairs" if is_answered or not isinstance(inner, list) or all(len(each) == 1 for each in inner) else None


def speaker_of(turn: Any) -> object:
    """The speaker that a turn names; None where it names none, or is no turn."""
    if not isinstance(turn, dict):
        return None
    said = next((turn[key] for key in SPEAKER_KEYS if turn.get(key) is not None), None)
    if said is None:
        said = next((turn[key] for key in turn if "role" in roles_of(key) and role_of(turn[key])), None)
    if said is None and turn.get("type") in TYPES:
        return turn["type"]
    if said is None and (flag := next((key for key in turn if key in ROLE_OF_FLAG), None)):
        one, other = ROLE_OF_FLAG[flag]
        return {True: one, False: other}.get(turn[flag]) if isinstance(turn[flag], bool) else None
    return (said.get("role") or said.get("type")) if isinstance(said, dict) else said


def is_turn(value: Any) -> bool:
    """True if this is a turn: an object with a speaker that chats know, or with the keys of the two usual forms."""
    if speaker_of(value) is None:
        return False
    usual = value.keys() >= {"role", "content"} or value.keys() >= {"from", "value"}
    return usual or role_of(speaker_of(value)) is not None


def content_of(turn: Mapping[str, Any]) -> Any:
    """The words of a turn."""
    usual = next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None)
    return usual or next((turn[key] for key in turn if turn[key] is not None and "content" in roles_of(key)), usual)


def told_by_values(turns: list[Any]) -> list[Any] | None:
    """Turns whose keys are not known, under the usual ones: one key holds a known speaker in each of them, a user
    and an assistant among these, and one other key the words. None where that is not so, or the keys are known."""
    first = turns[0] if turns else None
    if not isinstance(first, dict) or (speaker_of(first) is not None and content_of(first) is not None):
        return None
    if not all(isinstance(turn, dict) and turn.keys() == first.keys() for turn in turns):
        return None
    texts = [key for key in first if all(isinstance(turn[key], str) for turn in turns)]
    roles = {key: {role_of(turn[key]) for turn in turns} for key in texts}
    speakers = [key for key, found in roles.items() if None not in found and {"user", "assistant"} <= found]
    words = [key for key in texts if key not in speakers]
    if len(words) > 1:
        words = [key for key in words if any(" " in turn[key].strip() for turn in turns)]
    words = [key for key in words if "content" in roles_of(key)] or words
    if len(speakers) != 1 or len(words) != 1:
        return None
    usual = {speakers[0]: "role", words[0]: "content"}
    return [{usual.get(key, key): value for key, value in turn.items()} for turn in turns]


def _in_object(value: dict[str, Any]) -> Any:
    """The list of turns in an object; the object itself if there is none."""
    if isinstance(nodes := value.get("mapping", value), dict) and (found := _branch(nodes)):
        return found
    if (turn := _wrapped_turn(value)) is not None:
        return [turn]
    if isinstance(value.get("body"), dict):
        return _in_object(value["body"])
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), list) and inner and all(map(is_turn, inner)):
        return inner
    if (name := next((name for name in CHAT_KEYS if name in value), None)) is not None:
        inner = decoded(value[name])
        return _in_object(inner) if isinstance(inner, dict) else inner
    if value and all(isinstance(each, list) for each in value.values()):
        return [dict(zip(value, turn, strict=False)) for turn in zip(*value.values(), strict=False)]
    if value and all(isinstance(each, dict) and re.search(r"\d$", str(key)) for key, each in value.items()):
        return list(value.values())
    return value


def _wrapped_turn(value: Any) -> dict[str, Any] | None:
    """The turn within what a server answers: `choices[0].message`, `candidates[0].content`, `message`."""
    while isinstance(value, dict):
        inner = next((value[key] for key in WRAPPINGS if isinstance(value.get(key), dict | list)), None)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, dict) and is_turn(inner):
            return inner
        value = inner
    return None


def _branch(nodes: dict[str, Any]) -> list[Any]:
    """The messages from the root of a ChatGPT export to the last leaf; none if this is no such tree."""
    if not all(isinstance(node, dict) and "parent" in node and "message" in node for node in nodes.values()):
        return []
    at: Any = next((key for key in reversed(nodes) if not nodes[key].get("children")), None)
    turns: list[Any] = []
    for _ in nodes:
        node = nodes.get(at) if isinstance(at, str) else None
        if node is None:
            break
        at = node["parent"]
        turns += [node["message"]] if _is_said(node["message"]) else []
    return turns[::-1]


def _is_said(message: Any) -> bool:
    """True if there are words in a message of a ChatGPT export, which also keeps hidden empty ones."""
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, dict) and any(content.get("parts") or [content.get("text")])


def _alternating(place: int, text: str) -> list[Any]:
    begins = SPEAKS.match(text)
    speaker = begins.group(1) if begins else ("user", "assistant")[place % 2]
    return [{"role": speaker.lower(), "content": text[begins.end() :] if begins else text}]


def _sides(turn: Any) -> list[Any]:
    """A turn as it is, or the turns in an object or pair that holds a question with its answer."""
    if isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(each, str) for each in turn):
        if role_of(turn[0]):
            return [{"role": turn[0], "content": turn[1]}]
        return [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    if not isinstance(turn, dict) or speaker_of(turn) is not None:
        return [turn]
    said: dict[str, Any] = {}
    for key, content in turn.items():
        side = next((SIDES[role] for role in SIDES if role in roles_of(key)), None)
        if (side and isinstance(content, str | dict)) or (side and _is_said_in_parts(content)):
            said.setdefault(side, content)
        elif isinstance(content, str) and " " in content.strip():
            return [turn]  # words of which it is not known who says them
    return [{"role": side, "content": said[side]} for side in SIDES.values() if side in said] or [turn]


def _is_said_in_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)


def _in_text(text: str) -> list[Any] | None:
    """The turns of a text in which each begins with its speaker: `Human: Hi`, `### Assistant: Hello`."""
    marks = list(SPEAKS.finditer(text))
    if len(marks) < 2 or text[: marks[0].start()].strip():
        return None
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        {"role": mark.group(1).lower(), "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
