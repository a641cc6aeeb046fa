"""A model's chat template: the prompts that it writes, how they let the model think, and what stands around an answer.

These files, tokenized.py and render.py are copied into one of a hand-off: their names at the top must all differ.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

from jinja2 import Environment, meta
from jinja2.exceptions import TemplateError

Message = dict[str, Any]
Options = Mapping[str, Any]
Thinking = Literal["auto", "keep", "off"]
SWITCHES = ("enable_thinking", "thinking")
"""Options by which chat templates let a model think or not: Qwen, GLM, Nemotron and Gemma; DeepSeek and Granite."""
THINKS = {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}
"""Options with which they let it think, where they do not by themselves."""
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Keys where chat templates look for the thoughts of an answer: most of them; gpt-oss and LFM; newer ones."""
REPAIR = "Choose another model, or repair its chat_template.jinja (or chat_template in tokenizer_config.json)."
GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now", "bos_token"}
"""What a program gives to a chat template, beside options."""
ASKED, ANSWERED, THOUGHT = "SAID BY THE USER", "SAID BY THE MODEL", "THOUGHT BY THE MODEL"
QUESTION, ANSWER = {"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}
THOUGHTFUL = {**ANSWER, **dict.fromkeys(THOUGHTS, THOUGHT)}
OPEN_TAG = re.compile(r"<([\w:]*think[\w:]*)>\s*$")
"""The end of a prompt that begins the thoughts: the model goes on with them."""
NO_THOUGHTS = re.compile(r"<([\w:]*think[\w:]*)>\s*</\1>\s*")
"""Thoughts of no words."""
PART_OF_MARK = re.compile(r"(<[^<>\s]*|\[[^\[\]\s]*)\Z")
"""The beginning of a mark at the end of a text: `<|START_` of <|START_THINKING|>, or `[/` of [/INST]."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """The fields of a recipe by which prompts are written."""

    thinking: Thinking = "auto"
    """data.thinking"""
    template_options: Options = field(default_factory=dict)
    """data.template_options"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a chat template writes around an answer without thoughts."""

    opening: str = ""
    """The end of the prompt that is not repeated once the answer is there: `<think>\\n` of DeepSeek-R1."""
    closing: str = ""
    """What a model writes behind its thoughts, where `opening` begins them: `\\n</think>\\n\\n`."""
    lead: str = ""
    """The text between the prompt and the answer: `<think>\\n\\n</think>\\n\\n` of Qwen3."""
    next_prompt: str = ""
    """The prompt behind the answer, of a template that always ends with one."""


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
        return bool(self.switch or self.usual.closing or (lead.strip() and self.shows_thoughts) or self.writes_none)

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
        """True if this option of THINKS changes the prompt to one behind which thoughts are shown."""
        options = {**self.options.template_options, name: THINKS[name]}
        prompt, text = (
            applied(self.tokenizer, chat, options, None, asks, self.in_parts)
            for chat, asks in (([QUESTION], True), ([QUESTION, THOUGHTFUL], False))
        )
        return THOUGHT in text and prompt != self.prompt([QUESTION], None)

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
    usual = _surroundings(lambda messages, asks: tried(messages, asks, in_parts), marks, eos)
    off = {switch: False} if switch else {}
    switched = _surroundings(lambda messages, asks: tried(messages, asks, in_parts, **off), marks, eos)
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


def _surroundings(tried: Callable[[Sequence[Message], bool], str], marks: Sequence[str], eos: str) -> Surroundings:
    """What stands around an answer, found with example chats.

    tried: renders one; empty if the template refuses it. marks: the special tokens, and eos the one that ends a text.
    """
    prompt, answered = tried([QUESTION], True), tried([QUESTION, ANSWER], False)
    asked, shown = prompt.rpartition(ASKED)[2], answered.rpartition(ASKED)[2]
    before, found, behind = shown.partition(ANSWERED)
    if not found:
        return Surroundings()
    if asked in before:
        lead = before[before.rindex(asked) + len(asked) :]
        left_open = None if lead.strip() else OPEN_TAG.search(asked)  # the answer follows, as if it were thoughts
        opening = left_open[0] if left_open else ""
    else:
        shared = len(_whole_start(asked, before))
        opening, lead = asked[shared:], before[shared:]
        lead = "" if opening and _is_there(lead, asked) else lead
    next_prompt = ""
    if tried([QUESTION], False) == prompt:
        again = tried([QUESTION, ANSWER, QUESTION], False).rpartition(ANSWERED)[2]
        end = _whole_start(behind, again)
        stops = [eos] if eos and eos in end else marks
        ends = [place + len(mark) for mark in stops if (place := end.find(mark)) >= 0]
        rest = behind[min(ends, default=len(end)) :].lstrip()
        next_prompt = rest if not ends or asked.rstrip().endswith(rest.rstrip()) else ""  # Llama Guard asks otherwise
    closing = _closing(opening, tried([QUESTION, THOUGHTFUL], False)).removesuffix(lead)
    return Surroundings(opening, closing, lead, next_prompt)


def _is_there(lead: str, asked: str) -> bool:
    """True if the end of a prompt stands for the text before an answer: the same but for blanks, or other words, which
    a model must not write again. Marks that the prompt lacks are the model's to write."""
    bare = "".join(lead.split())
    return "".join(asked.split()).endswith(bare) or not re.search(r"[<\[]", bare)


def common_start(one: str, other: str) -> str:
    """The common beginning of two texts."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))]


def _whole_start(one: str, other: str) -> str:
    """The common beginning of two texts, without a part of a word or of a mark at its end."""
    common = common_start(one, other)
    cuts_a_word = any(rest[:1].isalnum() for rest in (one[len(common) :], other[len(common) :]))
    return PART_OF_MARK.sub("", re.sub(r"\w+\Z", "", common) if cuts_a_word else common)


def _tags(thoughtful: str) -> tuple[str, str] | None:
    """The tags around the thoughts in an example chat: the last line before them, and the first behind them."""
    before, found, behind = thoughtful.rpartition(ASKED)[2].partition(THOUGHT)
    if not found:
        return None
    return before.rstrip().rpartition("\n")[2], behind.partition(ANSWERED)[0].strip().partition("\n")[0]


def _closing(opening: str, thoughtful: str) -> str:
    """The text behind thoughts that the end of a prompt begins; empty if it begins none.

    thoughtful: an example chat with thoughts.
    """
    before, _, behind = thoughtful.partition(THOUGHT)
    if opening.strip() and before.endswith(opening) and ANSWERED in behind:
        return behind.partition(ANSWERED)[0]
    tag = OPEN_TAG.search(opening)
    return f"\n</{tag[1]}>\n\n" if tag else ""
