"""What to do about a row that a chat template refuses in words of its own, or fails on."""

import re
from collections.abc import Callable
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError

from fitune.core.worker.chats.answers import JOIN, Refusal
from fitune.core.worker.chats.surroundings import Message
from fitune.core.worker.chats.template import REPAIR, ChatTemplate, options_of

FOR_TOOLS = "It is made for chats with functions: list some in the rows, or choose another chat template or model."
EXAMPLE_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}},
}


def cure_of(error: TemplateError, messages: list[Message], tools: Any, template: ChatTemplate) -> str:
    """What to do about this refusal; empty if that is not known."""
    if isinstance(error, Refusal):
        return error.cure
    if isinstance(error, UndefinedError):
        return _of_undefined(str(error), template)
    if isinstance(error, TemplateSyntaxError | SecurityError) or re.match(r"No (filter|test) named", str(error)):
        return REPAIR
    if not tools and _takes(messages, [EXAMPLE_TOOL], template):
        return FOR_TOOLS
    changes = ((change(messages), words) for change, words in CHANGES)
    return next((words for chat, words in changes if chat != messages and _takes(chat, tools, template)), "")


def _of_undefined(why: str, template: ChatTemplate) -> str:
    option, key = re.match(r"'(\w+)' is undefined", why), re.search(r"has no attribute '(\w+)'", why)
    if option and option[1] in options_of(template.tokenizer):
        return f"Give it in the recipe: data.template_options = {{{option[1]} = ...}}."
    return f'Add "{key[1]}" to the messages or calls that lack it.' if key else ""


def _takes(messages: list[Message], tools: Any, template: ChatTemplate) -> bool:
    try:
        template.text(messages, tools)
    except TemplateError:
        return False
    return True


def _merged(messages: list[Message]) -> list[Message]:
    """The chat with a message in the place of two that follow one another and have the same role."""
    made: list[Message] = []
    for message in messages:
        if made and made[-1]["role"] == message["role"] != "tool":
            made[-1] = {**made[-1], "content": f"{made[-1]['content']}\n\n{message['content']}"}
        else:
            made.append(message)
    return made


def _system_first(messages: list[Message]) -> list[Message]:
    return _merged(sorted(messages, key=lambda message: message["role"] != "system"))


def _asked_first(messages: list[Message]) -> list[Message]:
    begin = next((place for place, message in enumerate(messages) if message["role"] == "user"), 0)
    return [message for message in messages[:begin] if message["role"] == "system"] + messages[begin:]


CHANGES: tuple[tuple[Callable[[list[Message]], list[Message]], str], ...] = (
    (_merged, JOIN),
    (_system_first, "Put the system prompt at the beginning, one for the whole chat."),
    (_asked_first, "Begin the chat with a question."),
)
"""Changes of a chat that templates ask for."""
