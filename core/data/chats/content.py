"""The content of a turn: text, or a list of parts as OpenAI, Anthropic, Bedrock and Gemini write them."""

from dataclasses import dataclass, field
from typing import Any

from fitune.core.data.chats.calls import call_of
from fitune.core.data.images.chats import MARK, image_of_part
from fitune.core.data.values import Row, Skip, as_json, kind_name, plain_text

IMAGES = ("image", "input_image", "inlineData", "inline_data")
"""Beginnings of the type, or the key, of a part that may be an image."""
MEDIA = (*IMAGES, "audio", "video", "file", "document", "fileData", "file_data", "input_audio", "input_file")
"""Beginnings of the type, or the key, of a part that is no text."""
CALLS = ("toolUse", "functionCall", "function_call")
RESULTS = ("toolResult", "functionResponse", "function_response")
"""Keys of parts that Bedrock and Gemini write."""


@dataclass(slots=True)
class Said:
    """The parts of a turn."""

    text: str = ""
    thoughts: str = ""
    calls: list[Row] = field(default_factory=list)
    results: list[Row] = field(default_factory=list)
    """Results of tools, each a message of its own."""
    images: list[str | None] = field(default_factory=list)
    """The image of each mark in the text; None for one that stands in a column of the row."""


def said_in(content: Any) -> Said:
    """The text and images of a turn's content. Raises Skip for sound and the like."""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):  # a ChatGPT export
        content = content["parts"]
    if isinstance(content, dict) and isinstance(content.get("content"), str | list):  # a message of LangChain
        content = content["content"]
    if isinstance(content, dict) and ("text" in content or "type" in content):
        content = [content]
    if isinstance(content, list) and all(isinstance(part, dict | str) for part in content):
        said = Said()
        for part in content:
            _add(said, {"text": part} if isinstance(part, str) else part)
        return said
    if (text := plain_text(content)) is None or isinstance(content, bool | int | float):
        raise Skip("type", f"the content of a chat turn is {kind_name(content)}, not text.")
    return Said(text)


def _add(said: Said, part: dict[str, Any]) -> None:
    kind = str(part["type"]) if part.get("type") else next((key for key in (*CALLS, *RESULTS) if key in part), "text")
    inner = found if isinstance(found := part.get(kind), dict) else part
    if kind in ("tool_use", *CALLS):
        call = call_of({"id": inner.get("toolUseId"), **inner})
        said.calls += [call] if call else []
    elif kind in ("tool_result", *RESULTS):
        said.results.append(_result(inner))
    elif kind in ("thinking", "reasoning", "reasoning_content") or part.get("thought") is True:
        said.thoughts += _words(part, "thinking", "reasoning", "reasoning_content", "text", "content", "value")
    elif kind == "redacted_thinking":
        pass  # unreadable by design
    elif kind in ("text", "input_text", "output_text") and not _is_media(part):
        said.text += _words(part, "text", "content", "value")
    elif _is_image(kind, part):
        said.text += MARK
        said.images.append(image_of_part(part))
    elif kind.startswith(MEDIA) or _is_media(part):
        raise Skip("media", "holds sound, video or files.")
    else:
        raise Skip("type", f"a chat turn has a part of the type {kind}, which fitune does not know.")


def _words(part: dict[str, Any], *keys: str) -> str:
    return next((part[key] for key in keys if isinstance(part.get(key), str)), "")


def _is_image(kind: str, part: dict[str, Any]) -> bool:
    """True for an image, and not for a sound or a film that Gemini keeps in the same way."""
    key = next((key for key in IMAGES if kind.startswith(key) or ("text" not in part and part.get(key))), None)
    inner = part.get(key) if key else None
    media_type = (inner.get("mimeType") or inner.get("mime_type") or "") if isinstance(inner, dict) else ""
    return key is not None and (not media_type or str(media_type).startswith("image/"))


def _is_media(part: dict[str, Any]) -> bool:
    return "text" not in part and any(part.get(key) for key in MEDIA)


def _result(part: dict[str, Any]) -> Row:
    given = next((part[key] for key in ("content", "response", "output") if part.get(key) is not None), "")
    if isinstance(given, list):
        texts = [_words(each, "text") or as_json(each.get("json", each)) for each in given if isinstance(each, dict)]
        given = "\n".join(texts)
    message = {"role": "tool", "content": given if isinstance(given, str) else as_json(given)}
    known = part.get("tool_use_id") or part.get("toolUseId")
    return {**message, "tool_call_id": known} if known else message
