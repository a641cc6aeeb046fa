"""Whatever the chat template: an answer is learned behind the prompt that every program asks with, to its end mark.

The prompts here are made by apply_chat_template itself.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from jinja2.exceptions import TemplateError

from fitune.core.worker.chats.template import PromptOptions, Thinking
from fitune.core.worker.rows.render import RefusedRow, render
from fitune.core.worker.rows.tokenized import TokenizedRow
from tests.core.worker.chats.chat_kinds import CALLING, CHATS, PLAIN, TOOL, Chat, shipped, tokenizer_for
from tests.core.worker.chats.own_templates import OWN

SHIPPED = shipped()
TEMPLATES = SHIPPED | OWN


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer as the template writes it."""

    turn: int
    prompt: list[int]
    text: str | None
    """What follows the prompt; None if the template writes the chat otherwise once it is answered."""


def variants(chat: Chat, thinking: Thinking) -> list[Chat]:
    """The chat in the forms that templates read: thoughts beside or in the content, calls as objects or as text, the
    system prompt in the question, contents as parts."""
    found: dict[str, Chat] = {}
    for thoughts in (_left_out,) if thinking == "off" else (_beside, _within):
        for calls in (lambda message: message, _as_openai):
            for system in (lambda messages: messages, _in_question):
                written = system([calls(thoughts(message)) for message in chat])
                in_parts = [{**each, "content": [{"type": "text", "text": each["content"] or ""}]} for each in written]
                found |= {json.dumps(each): each for each in (written, in_parts)}
    return list(found.values())


def _split(message: dict[str, Any]) -> tuple[str, str]:
    content = message["content"]
    if content.startswith("<think>"):
        thoughts, content = content.removeprefix("<think>\n").split("\n</think>\n\n")
        return thoughts, content
    return message.get("reasoning_content", ""), content


def _beside(message: dict[str, Any]) -> dict[str, Any]:
    thoughts, content = _split(message)
    keys = ("reasoning_content", "thinking", "reasoning") if thoughts else ()
    return {**message, "content": content, **dict.fromkeys(keys, thoughts)}


def _left_out(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "reasoning_content"} | {
        "content": _split(message)[1]
    }


def _within(message: dict[str, Any]) -> dict[str, Any]:
    thoughts, content = _split(message)
    return _left_out(message) | {"content": f"<think>\n{thoughts}\n</think>\n\n{content}" if thoughts else content}


def _as_openai(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "content": message["content"] or None, "tool_calls": calls}


def _in_question(messages: Chat) -> Chat:
    if messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def expected_of(chat: Chat, tools: Any, coder: Any, thinking: Thinking) -> list[Expected]:
    """Each answer behind each prompt with which a program may ask for it."""
    switches = [{name: False} for name in ("enable_thinking", "thinking") if name in coder.chat_template]
    found = []
    for written in variants(chat, thinking):
        for turn in (turn for turn, message in enumerate(written) if message["role"] == "assistant"):
            for options in ({}, *switches):
                try:
                    prompt = rendered(coder, written[:turn], tools, True, options)
                    text = rendered(coder, written[: turn + 1], tools, False, options)
                except (TemplateError, TypeError, ValueError):
                    continue
                ids = coder(prompt, add_special_tokens=False)["input_ids"]
                told = text[len(prompt) :] if text.startswith(prompt) else None
                found.append(Expected(turn + len(chat) - len(written), ids, told))
    return found


def rendered(coder: Any, chat: Chat, tools: Any, asks: bool, options: dict[str, Any]) -> str:
    """The text of a chat by transformers."""
    return str(coder.apply_chat_template(chat, tools=tools, tokenize=False, add_generation_prompt=asks, **options))


def refused_or_right(chat: Chat, tools: Any, coder: Any, thinking: Thinking) -> bool:
    """True if the chat is rendered, by the rule; False if it is refused. Fails if it is rendered in another way."""
    row = {"messages": chat, **({"tools": tools} if tools else {})}
    (made,) = render([row], coder, "answers", PromptOptions(thinking))
    if isinstance(made, RefusedRow):
        return False
    expected = expected_of(chat, tools, coder, thinking)
    learned = {turn_of(sample, span, chat, coder, expected, thinking) for sample in made for span in sample.spans}
    assert learned == {turn for turn, message in enumerate(chat) if message["role"] == "assistant"}
    return True


def turn_of(
    sample: TokenizedRow, span: tuple[int, int], chat: Chat, coder: Any, expected: list[Expected], thinking: Thinking
) -> int:
    """The turn whose answer a span is. Fails if no program asks with its prompt, or if it is not the whole answer."""
    first, end = span
    learned = coder.decode(sample.ids[first:end])
    behind = [each for each in expected if sample.ids[: len(each.prompt)] == each.prompt and len(each.prompt) <= first]
    assert behind, f"no program asks {coder.decode(sample.ids[:first])!r}"
    longest = max(len(each.prompt) for each in behind)
    of_turn = [each for each in behind if len(each.prompt) == longest]
    message = chat[of_turn[0].turn]
    thoughts, content = _split(message)
    calls = [call["function"]["name"] for call in message.get("tool_calls", ())]
    wanted = [*([] if thinking == "off" else [thoughts]), *(calls or content.split())]
    assert all(word in learned for word in wanted), f"{wanted} in {learned!r}"
    assert sample.ids[end - 1] in {*coder.added_tokens_decoder}, learned
    assert learned.count(coder.eos_token) <= 1
    skipped = coder.decode(sample.ids[longest:first])
    assert not skipped or thinking != "off"
    assert not any(word in skipped for word in (*content.split(), *calls) if word.isalpha())
    texts = {unended(each.text, coder) for each in of_turn if each.text is not None}
    whole = unended(skipped + learned, coder)
    assert not texts or whole in texts, f"{whole!r} is none of {texts}"
    return of_turn[0].turn


def unended(text: str, coder: Any) -> str:
    """A text without the EOS that fitune adds, or Phi's template at the end of a chat."""
    return text.rstrip().removesuffix(coder.eos_token).rstrip()


@pytest.mark.parametrize("thinking", ["keep", "off"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_answer_is_learned_behind_the_prompt_that_programs_ask_with(name: str, thinking: Thinking) -> None:
    coder = tokenizer_for(TEMPLATES[name])
    for kind, chat in CHATS.items():
        tools = [TOOL] if kind in CALLING else None
        right = refused_or_right(chat, tools, coder, thinking)
        assert right or kind not in PLAIN, kind


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_answer_is_learned_to_its_end_mark_where_the_questions_are_learned_too(name: str) -> None:
    coder = tokenizer_for(TEMPLATES[name])
    for kind, chat in PLAIN.items():
        (made,) = render([{"messages": chat}], coder, "all", PromptOptions("keep"))
        assert not isinstance(made, RefusedRow), kind
        learned = [coder.decode(sample.ids[first:end]) for sample in made for first, end in sample.spans]
        for content in (message["content"].strip() for message in chat if message["role"] == "assistant"):
            rest = [text.partition(content)[2].lstrip() for text in learned if content in text]
            ends = {coder(text, add_special_tokens=False)["input_ids"][0] for text in rest if text}
            assert ends & {*coder.added_tokens_decoder}, (kind, learned)


def test_a_call_that_a_template_without_end_marks_does_not_write_is_refused() -> None:
    """Else the model would learn to stop where it is to call."""
    coder = tokenizer_for(OWN["no end marks"])
    assert not refused_or_right(CALLING["call"], [TOOL], coder, "keep")


def test_the_stack_ships_templates() -> None:
    assert len(SHIPPED) > 60
