"""A model's chat template: the prompts that it writes, how they let the model think, and what stands around an answer.

These files, tokenized.py and render.py are copied into one of a hand-off: their names at the top must all differ.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from jinja2 import Environment, meta
from jinja2.exceptions import TemplateError

from fitune.core.worker.chats.surroundings import (
    ANSWERED,
    ASKED,
    OPEN_TAG,
    QUESTION,
    THOUGHT,
    THOUGHTFUL,
    Message,
    Surroundings,
    surroundings_of,
)

Options = Mapping[str, Any]
Thinking = Literal["auto", "keep", "off"]
SWITCHES = ("enable_thinking", "thinking")
"""Options by which chat templates let a model think or not: Qwen, GLM, Nemotron and Gemma; DeepSeek and Granite."""
THINKS = {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}
"""Options with which they let it think, where they do not by themselves."""
REPAIR = "Choose another model, or repair its chat_template.jinja (or chat_template in tokenizer_config.json)."
GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now", "bos_token"}
"""What a program gives to a chat template, beside options."""
NO_THOUGHTS = re.compile(r"<([\w:]*think[\w:]*)>\s*</\1>\s*")
"""Thoughts of no words."""
CLOSES = re.compile(r"\s*</[\w:]*think[\w:]*>")
"""The end of thoughts at the beginning of a text."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """The fields of a recipe by which prompts are written."""

    thinking: Thinking = "auto"
    """data.thinking"""
    template_options: Options = field(default_factory=dict)
    """data.template_options"""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A tokenizer's chat template with the options of a recipe. A template that refuses a chat raises TemplateError."""

    tokenizer: Any
    options: PromptOptions
    in_parts: bool
    """True if it shows a message only where its content is a list of parts, as some models do that also see."""
    switch: str | None
    """The option that lets the model answer without thinking; None if it does so anyway, or if there is none."""
    thought_tags: tuple[str, str] | None
    """The text before and behind the thoughts of the last answer; None if it does not show them."""
    usual: Surroundings
    """What stands around an answer behind the usual prompt."""
    switched: Surroundings
    """The same behind the prompt that switches thinking off."""
    end_marks: tuple[str, ...]
    """The special tokens. GLM's </tool_call> is none: it ends a call, but no program stops generating there."""
    image_mark: str = ""
    """Stands for an image in the content of a message; empty for a chat without images."""

    @property
    def served_options(self) -> dict[str, Any]:
        """The options that a server must pass to the template to ask as the training did."""
        served = dict(self.options.template_options)
        return {**served, self.switch: False} if self.switch and self.options.thinking == "off" else served

    @property
    def makes_think(self) -> bool:
        """True if a model that is asked in the usual way thinks before it answers."""
        lead = self.usual.lead
        hides_what_is_opened = CLOSES.match(lead)  # Kimi K2.5
        opens = self.switch or self.usual.closing or hides_what_is_opened or self.writes_none
        return bool(opens or (lead.strip() and self.shows_thoughts))

    @property
    def writes_none(self) -> bool:
        """True if it writes thoughts of no words before an answer that has none."""
        return NO_THOUGHTS.fullmatch(self.usual.lead.lstrip()) is not None

    @property
    def shows_thoughts(self) -> bool:
        """True if it shows the thoughts of the last answer."""
        return self.thought_tags is not None

    @property
    def knows_thoughts(self) -> bool:
        """True if it has anything to do with thoughts."""
        return self.makes_think or self.shows_thoughts or self.names_think_tags

    @property
    def names_think_tags(self) -> bool:
        """True if it reads thoughts in the content of an answer, between <think> and </think>."""
        return "</think>" in source_of(self.tokenizer)

    def thinks_with(self, name: str) -> bool:
        """True if this option of THINKS makes a prompt that opens thoughts, or behind which they are shown."""
        usual, options = self.prompt([QUESTION], None), {**self.options.template_options, name: THINKS[name]}
        other = replace(self, options=replace(self.options, template_options=options))
        try:
            prompt, text = other.prompt([QUESTION], None), other.text([QUESTION, THOUGHTFUL], None)
        except TemplateError:  # Qwen3.8 has other words for it
            return False
        opens = OPEN_TAG.search(prompt) and not OPEN_TAG.search(usual)
        return prompt != usual and bool(opens or THOUGHT in text)

    @property
    def asks(self) -> bool:
        """True if the prompt behind a question is more than the question."""
        return self.prompt([QUESTION], None) != self.text([QUESTION], None)

    def ends_itself(self, text: str) -> bool:
        """True if a text ends with a mark at which programs stop generating."""
        return text.endswith(self.end_marks)

    def prompt(self, asked: Sequence[Message], tools: Any, without_thinking: bool = False) -> str:
        """The text before an answer: what every program gives to the model."""
        return self._applied(asked, tools, without_thinking, asks=True)

    def text(self, messages: Sequence[Message], tools: Any, without_thinking: bool = False) -> str:
        """The text of a chat. Raises TemplateError."""
        return self._applied(messages, tools, without_thinking, asks=False)

    def _applied(self, messages: Sequence[Message], tools: Any, without_thinking: bool, asks: bool) -> str:
        options = dict(self.options.template_options)
        if without_thinking and self.switch:
            options[self.switch] = False
        return applied(self.tokenizer, messages, options, tools, asks, self.in_parts, self.image_mark)


def read(tokenizer: Any, options: PromptOptions) -> ChatTemplate:
    """A tokenizer's chat template; what it writes around an answer is found with example chats."""

    def tried(messages: Sequence[Message], asks: bool = False, in_parts: bool = False, **more: Any) -> str:
        try:
            return applied(tokenizer, messages, {**options.template_options, **more}, None, asks, in_parts)
        except TemplateError:
            return ""

    in_parts = ASKED not in tried([QUESTION]) and ASKED in tried([QUESTION], in_parts=True)
    usual_prompt, source = tried([QUESTION], True, in_parts), source_of(tokenizer)
    known = [name for name in SWITCHES if re.search(rf"\b{name}\b", source)]
    prompts = ((name, tried([QUESTION], True, in_parts, **{name: False})) for name in known)  # empty: it refuses that
    switch = next((name for name, prompt in prompts if prompt not in ("", usual_prompt)), None)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    marks = tuple(special | {tokenizer.eos_token} - {None})
    eos = tokenizer.eos_token or ""
    usual = surroundings_of(lambda messages, asks: tried(messages, asks, in_parts), marks, eos)
    off = {switch: False} if switch else {}
    switched = surroundings_of(lambda messages, asks: tried(messages, asks, in_parts, **off), marks, eos)
    return ChatTemplate(
        tokenizer=tokenizer,
        options=options,
        in_parts=in_parts,
        switch=switch,
        thought_tags=_tags(tried([QUESTION, THOUGHTFUL], False, in_parts)),
        usual=usual,
        switched=switched,
        end_marks=marks,
    )


def applied(
    tokenizer: Any,
    messages: Sequence[Message],
    options: Options,
    tools: Any,
    asks: bool,
    in_parts: bool,
    image_mark: str = "",
) -> str:
    """The text of a chat, with the prompt for an answer behind it if `asks`. Raises TemplateError."""
    if in_parts or image_mark:
        messages = [_in_parts(each, in_parts, image_mark) for each in messages]
    try:
        rendered = tokenizer.apply_chat_template(
            list(messages), tools=tools, tokenize=False, add_generation_prompt=asks, **options
        )
    except TemplateError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # it adds None to a text, and the like
        raise TemplateError(str(error)) from error
    return str(rendered)


def _in_parts(message: Message, always: bool, image_mark: str) -> Message:
    """A message with its content as a list of parts where it shows images, or always."""
    content = message["content"] or ""
    if image_mark and image_mark in content and message["role"] != "assistant":
        texts = content.split(image_mark)
        parts = [part for text in texts for part in ({"type": "image"}, {"type": "text", "text": text})][1:]
        return {**message, "content": [part for part in parts if part.get("text") != ""]}
    return {**message, "content": [{"type": "text", "text": content}]} if always else message


def names_of(tokenizer: Any) -> list[str]:
    """The names of a tokenizer's chat templates, where it has several."""
    return [] if isinstance(tokenizer.chat_template, str) else sorted(tokenizer.chat_template or ())


def options_of(tokenizer: Any) -> list[str]:
    """The options that a tokenizer's chat template reads, beside what every program gives to it."""
    source = re.sub(r"{%[-+]?\s*(end)?generation\s*[-+]?%}", "", source_of(tokenizer))  # a tag of transformers
    parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(source)
    return sorted(meta.find_undeclared_variables(parsed) - GIVEN - tokenizer.special_tokens_map.keys())


def source_of(tokenizer: Any) -> str:
    """The text of the chat template; of several, one after another."""
    template = tokenizer.chat_template or ""
    return template if isinstance(template, str) else "\n".join(template.values())


def _tags(thoughtful: str) -> tuple[str, str] | None:
    """The tags around the thoughts in an example chat: the last line before them, and the first behind them."""
    before, found, behind = thoughtful.rpartition(ASKED)[2].partition(THOUGHT)
    if not found:
        return None
    return before.rstrip().rpartition("\n")[2], behind.partition(ANSWERED)[0].strip().partition("\n")[0]
