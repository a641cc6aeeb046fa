"""One turn of a chat as the messages that chat templates know: {"role", "content"}, with what belongs to them."""

from typing import Any

from fitune.core.data.chats.calls import call_of, calls_of
from fitune.core.data.chats.content import Said, said_in
from fitune.core.data.chats.speakers import OURS, role_of
from fitune.core.data.chats.turns import CONTENT_KEYS, content_of, speaker_of
from fitune.core.data.values import Row, Skip, as_json, decoded, kind_name

TURN_EXTRAS = ("tool_call_id", "name")
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Keys where programs write the assistant's thoughts: most of them; gpt-oss; vLLM, OpenRouter and Groq."""
LEARNED = ("weight", "train", "loss", "loss_weight", "trainable", "learn")
MASKED = ("mask", "masked", "ignore")
"""The marks of an answer that is shown, not learned: of OpenAI, axolotl, ms-swift, LLaMA-Factory and others."""


def messages_of(turn: Any) -> list[Row]:
    """The messages of a turn: one as a rule; results of tools that stand in a user's turn are messages of their own.

    An answer with `"train": False` is shown to the model, but not learned. Raises Skip.
    """
    if type(turn) is not dict:
        raise Skip("type", f"a chat turn is {kind_name(turn)}, not an object with role and content.")
    role, content = turn.get("role"), turn.get("content")
    if len(turn) == 2 and type(content) is str and type(role) is str and role in OURS:
        return [turn]
    speaker, content = speaker_of(turn), content_of(turn)
    if (role := role_of(speaker)) is None:
        raise Skip("role", f"a turn has the role {speaker!r}, which no chat template knows.")
    calls = _calls(turn)
    if not calls and str(speaker).strip().lower() in ("function_call", "tool_call"):
        calls, content = (found, None) if (found := calls_of(content)) else ([], content)
    if role == "tool" and isinstance(content, dict) and "parts" not in content:
        content = as_json(content)
    if content is None and not calls and not any(key in turn for key in CONTENT_KEYS):
        raise Skip("type", f"a chat turn holds no words under a name such as content: its keys are {', '.join(turn)}.")
    said = Said() if content is None and calls else said_in(content)
    message: Row = {"role": role, "content": said.text}
    if calls := [*calls, *said.calls]:
        message["tool_calls"] = calls
    message |= {key: turn[key] for key in TURN_EXTRAS if turn.get(key)}
    message |= _thoughts(turn, said)
    if said.images:
        message["images"] = said.images
    if role == "assistant" and _is_only_shown(turn):
        message["train"] = False
    return said.results + ([message] if not said.results or said.text.strip() or calls else [])


def _calls(turn: Row) -> list[Row]:
    listed = decoded(turn.get("tool_calls")) or decoded(turn.get("function_call")) or []
    listed = listed if isinstance(listed, list) else [listed]
    return [_call(each) for each in listed if each is not None]


def _call(value: Any) -> Row:
    is_bare = isinstance(value, dict) and "function" not in value
    call = call_of({"arguments": {}, **value} if is_bare else value)
    if call is None:
        raise Skip("type", f"a tool call is {kind_name(value)} without a function's name, so it calls nothing.")
    return call


def _thoughts(turn: Row, said: Said) -> Row:
    found = {key: thought for key in THOUGHTS if isinstance(thought := turn.get(key), str) and thought.strip()}
    return found or ({"reasoning_content": said.thoughts} if said.thoughts.strip() else {})


def _is_only_shown(turn: Row) -> bool:
    unlearned = any(str(turn[key]).strip().lower() in ("false", "no", "0", "0.0") for key in LEARNED if key in turn)
    return unlearned or any(
        str(turn[key]).strip().lower() in ("true", "yes", "1", "1.0") for key in MASKED if key in turn
    )
