"""The messages of a chat in the forms that chat templates ask for: thoughts, calls of functions, the system prompt."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from fitune.core.worker.chats.surroundings import THOUGHTS, Message
from fitune.core.worker.chats.template import ChatTemplate

UNOPENED = r"(?=(?:(?!<think>).)*?^</think>)"
THOUGHT_BLOCK = re.compile(rf"\s*(?:<think>|{UNOPENED})(.*?)</think>\s*", re.DOTALL | re.MULTILINE)
"""Thoughts at the head of an answer. Behind a prompt that opens them a model writes no <think>, and rows that were
collected so have none: then </think> begins a line."""


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write messages; the first that a template takes is used."""

    plain_calls: bool = False
    """Arguments as JSON text, as OpenAI's API has them (DeepSeek)."""
    calls_alone: bool = False
    """No content beside a call that has no words, as OpenAI's API has it (DeepSeek)."""
    thoughts_in_content: bool = False
    """Thoughts between <think> and </think> in the content (SmolLM3)."""
    system_in_question: bool = False
    """The system prompt at the head of the first question, for models without that role (Gemma 2)."""


def forms(messages: list[Message], template: ChatTemplate) -> Iterator[tuple[Form, list[Message]]]:
    """The messages in each form that may differ for these messages, the usual one first."""
    calls = any(message.get("tool_calls") for message in messages)
    thoughtful = template.names_think_tags and any(thoughts_of(message) for message in messages)
    inline = not template.shows_thoughts and (thoughtful or any(_has_block(message) for message in messages))
    system = [message["role"] for message in messages[:2]] == ["system", "user"]
    called = ((False, False), (True, True), (True, False), (False, True))[: 4 if calls else 1]
    for choice in product((False, True)[: 1 + system], (False, True)[: 1 + inline], called):
        in_question, in_content, (plain, alone) = choice
        form = Form(plain, alone, in_content, in_question)
        yield form, _written(messages, form, template)


def thoughts_of(message: Message) -> str:
    """The thoughts of an answer, beside its content or at its head; empty if it has none."""
    beside = next((message[key] for key in THOUGHTS if str(message.get(key) or "").strip()), "")
    return str(beside or _split(message)[0]).strip("\n")


def without_thoughts(message: Message) -> Message:
    """An answer without its thoughts."""
    bare = {key: value for key, value in message.items() if key not in THOUGHTS}
    return {**bare, "content": content_of(message)} if message["content"] else bare


def content_of(message: Message) -> str:
    """The words of an answer without thoughts at their head; empty where it only calls functions."""
    return _split(message)[1]


def _written(messages: list[Message], form: Form, template: ChatTemplate) -> list[Message]:
    written = [_answer(each, form, template) if each["role"] == "assistant" else each for each in messages]
    if form.system_in_question:
        system, first, *rest = written
        written = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    return written


def _answer(message: Message, form: Form, template: ChatTemplate) -> Message:
    """An answer in a form, without a mark of the template's own at its end: that is written once."""
    thoughts, (_, content) = thoughts_of(message), _split(message)
    if template.options.thinking == "off":
        thoughts = ""
    elif not thoughts and not template.knows_thoughts:
        content = message["content"] or ""
    written = {key: value for key, value in message.items() if key not in THOUGHTS}
    if thoughts and form.thoughts_in_content:
        own = _has_block(message)
        content = message["content"] if own else f"<think>\n{thoughts}\n</think>\n\n{content}"
    elif thoughts:
        written |= dict.fromkeys(THOUGHTS, thoughts)
    content = unended(content, template.tokenizer)
    if form.plain_calls and message.get("tool_calls"):
        written["tool_calls"] = [_plain(call) for call in message["tool_calls"]]
    alone = form.calls_alone and message.get("tool_calls") and not content.strip()
    return {**written, "content": None if alone else content}


def _plain(call: Message) -> Message:
    """A call with its arguments as JSON text."""
    function = call.get("function", {})
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _has_block(message: Message) -> bool:
    return message["role"] == "assistant" and bool(_split(message)[0].strip())


def _split(message: Message) -> tuple[str, str]:
    """The thoughts at the head of an answer's content, between <think> and </think>, and the rest of it."""
    content = message["content"] or ""
    block = THOUGHT_BLOCK.match(content) if "</think>" in content else None
    return (block[1].strip("\n"), content[block.end() :]) if block else ("", content)


def unended(text: str, tokenizer: Any) -> str:
    """The text without EOS tokens of its own: exactly one is added later."""
    while tokenizer.eos_token and (bare := text.rstrip()).endswith(tokenizer.eos_token):
        text = bare.removesuffix(tokenizer.eos_token)
    return text
