"""The answers of a chat as a model has to write them: each behind the prompt that every program asks with.

The context of an answer is exactly the text of apply_chat_template(messages before it, add_generation_prompt=True), and
what is learned is what the model must write from there, to the mark at which programs stop.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from fitune.core.worker.chats.messages import content_of, thoughts_of, without_thoughts
from fitune.core.worker.chats.surroundings import ANSWER, ANSWERED, OPEN_TAG, Message, Surroundings
from fitune.core.worker.chats.template import NO_THOUGHTS, THINKS, ChatTemplate

JOIN = "Join messages that follow one another and have the same role into one."
OTHER_MODEL = "Leave such rows out, or choose a model whose chat template shows them."
THINK_TAGS = (
    "Put them into the content of the answer, between <think> and </think>, if the model shall learn to write them; "
    'or leave them out with data.thinking = "off".'
)

NO_THOUGHTS_LEARNED = 'Leave the thoughts out with data.thinking = "off", or choose a model whose template shows them.'
NAME_IN_ID = "It writes the id of a call in the place of its name: give each an id like functions.get_weather:0."
CLOSED_TAG = re.compile(r"</[\w:]*think[\w:]*>\s*$")
"""The end of a prompt that ends the thoughts: the model answers at once."""


class Refusal(TemplateError):
    """A row that a chat template shows in part; `cure` says what to do."""

    def __init__(self, why: str, cure: str = "") -> None:
        super().__init__(why)
        self.cure = cure


@dataclass(frozen=True, slots=True)
class RenderedAnswer:
    """An answer, behind its prompt."""

    turn: int
    """Its number among the messages."""
    prompt: str
    """What every program asks with."""
    skipped: str
    """What the template writes before an answer without thoughts: a model that thinks reads it, and does not learn
    it."""
    text: str
    """What is learned, with its end mark if the template writes one."""
    behind: str
    """What follows it in the chat: at least the line end behind its mark."""
    no_thoughts: bool
    """True if the model would think before this answer, and the row has no thoughts."""

    @property
    def before(self) -> str:
        """All that stands before what is learned."""
        return self.prompt + self.skipped


def render_answer(chat: list[Message], turn: int, tools: Any, template: ChatTemplate) -> RenderedAnswer:
    """The answer of this turn, behind its prompt. Raises TemplateError."""
    asked, answer = chat[:turn], chat[turn]
    thoughts = thoughts_of(answer)
    no_thoughts = not thoughts and template.makes_think
    around = template.switched if no_thoughts else template.usual
    prompt = _prompt(asked, answer, tools, template, no_thoughts)
    refuse_hidden(asked, prompt, template.image_mark)
    if (
        asked
        and asked[-1]["role"] == "assistant"
        and template.asks
        and prompt == template.text(asked, tools, no_thoughts)
    ):
        raise Refusal("its prompt behind an answer asks for no other one", JOIN)
    target = _target(asked, answer, prompt, tools, template, no_thoughts)
    _refuse_loss(answer, target, template)
    skipped = ""
    if no_thoughts and template.options.thinking != "off":
        leads = (f"{around.closing}{around.lead}", around.closing, around.lead)
        skipped = next((lead for lead in leads if lead.strip() and target.startswith(lead)), "")
    learned = target[len(skipped) :]
    text = learned.rstrip()  # the model must not wait for the line end: it belongs to the next turn
    return RenderedAnswer(turn, prompt, skipped, text, learned[len(text) :], no_thoughts)


def _prompt(asked: list[Message], answer: Message, tools: Any, template: ChatTemplate, no_thoughts: bool) -> str:
    if asked:
        return template.prompt(asked, tools, no_thoughts)
    text = template.text([answer], tools, no_thoughts)
    return text[: max(0, text.find(str(answer["content"]).strip()))]


def _target(
    asked: list[Message], answer: Message, prompt: str, tools: Any, template: ChatTemplate, no_thoughts: bool
) -> str:
    """The text that a model must write behind the prompt."""
    thoughts = thoughts_of(answer)
    if thoughts and CLOSED_TAG.search(prompt):
        why = "its prompt ends the thoughts before the model can write them"
        raise Refusal(why, _option_that_thinks(answer, template) or NO_THOUGHTS_LEARNED)
    around = template.switched if no_thoughts else template.usual
    text = template.text([*asked, answer], tools, no_thoughts).removesuffix(around.next_prompt)
    opened = bool(around.closing) and prompt.endswith(around.opening)
    if text.startswith(prompt) and not (opened and _stays_open(text[len(prompt) :], around)):
        target = text[len(prompt) :]
        if thoughts and (tag := OPEN_TAG.search(prompt)) and target.lstrip().startswith(f"</{tag[1]}>"):
            return thoughts + _target(
                asked, without_thoughts(answer), prompt, tools, template, no_thoughts
            )  # Kimi K2.5
        empty = NO_THOUGHTS.match(target) if thoughts else None  # Kimi writes it before the thoughts in the content
        return target[empty.end() :] if empty else target
    # Either the prompt opens or closes thoughts that the history does not show, or the template writes a question
    # otherwise once it is answered. What stands before an example answer tells where this one begins.
    if opened:
        text = template.text([*asked, without_thoughts(answer)], tools, no_thoughts)
        text = text.removesuffix(around.next_prompt)
    head = template.text([*asked, ANSWER], tools, no_thoughts).rpartition(ANSWERED)[0]
    head = head.removesuffix(around.lead)
    if opened:
        heads = (head, head.removesuffix(around.opening))  # Nemotron opens none before a call
    else:
        heads = (prompt.removesuffix(around.opening) + around.unwritten, head)
    begin = next((len(each) for each in heads if text.startswith(each)), None)
    if begin is None:
        _refuse_loss(answer, text, template)
        why = "it writes a question otherwise once it is answered"
        raise Refusal(why, _option_that_thinks(answer, template) or OTHER_MODEL)
    return f"{thoughts}{around.closing}{text[begin:]}" if opened else text[begin:]


def _stays_open(target: str, around: Surroundings) -> bool:
    """True if the history puts an answer into the thoughts that a prompt opens, or opens them once more."""
    tag = OPEN_TAG.search(around.opening)
    return tag is not None and (f"</{tag[1]}>" not in target or target.lstrip().startswith(f"<{tag[1]}>"))


def refuse_hidden(asked: Sequence[Message], prompt: str, image_mark: str = "") -> None:
    """Raise Refusal if the prompt shows nothing of the words of a message that is not an answer."""
    for role, content in ((message["role"], message["content"] or "") for message in asked):
        content = content.replace(image_mark, " ") if image_mark else content
        if role != "assistant" and content.strip() not in prompt:  # perhaps with its quotes and line ends escaped
            longest = max(re.findall(r"\w+", content), key=len, default="")
            if longest not in prompt:
                raise Refusal(f"it shows nothing of a message of the role {role}", OTHER_MODEL)


def _refuse_loss(answer: Message, target: str, template: ChatTemplate) -> None:
    """Raise Refusal if only a part of an answer is written: the model would learn to stop where a function is to be
    called (Llama 3, Phi), or not to think. Words before a function call may be left out (Llama 3.1), which is told:
    the model is not to write them in use either."""
    calls = [_function(call) for call in answer.get("tool_calls") or ()]
    ids = [str(call.get("id") or "") for call in answer.get("tool_calls") or ()]
    by_id = any(each and each in target for each in ids)
    thoughts, content = (
        re.findall(r"\w+", text) if target and text.strip() not in target else []
        for text in (thoughts_of(answer), "" if calls else content_of(answer))
    )
    _refuse_absent(calls, target, lambda: NAME_IN_ID if by_id else OTHER_MODEL)
    _refuse_absent(thoughts, target, lambda: _cure_of_lost_thoughts(answer, template))
    _refuse_absent(content, target, lambda: OTHER_MODEL)


def leaves_words_out(answer: Message, text: str) -> bool:
    """True if the text of an answer that calls functions lacks words that stand before the call."""
    said = content_of(answer).strip() if answer.get("tool_calls") else ""
    return said not in text and any(word not in text for word in re.findall(r"\w+", said))


def _cure_of_lost_thoughts(answer: Message, template: ChatTemplate) -> str:
    """Where the template reads thoughts in the content, or under a key, to write them there would not help; nor where
    it drops the words before a call."""
    in_content = not (template.shows_thoughts or template.names_think_tags or answer.get("tool_calls"))
    return _option_that_thinks(answer, template) or (THINK_TAGS if in_content else NO_THOUGHTS_LEARNED)


def _option_that_thinks(answer: Message, template: ChatTemplate) -> str:
    """The fix for an answer with thoughts, where the prompt lets the model think only if an option asks for it."""
    if not thoughts_of(answer):
        return ""
    name = next((name for name in THINKS if template.thinks_with(name)), "")
    option = f"data.template_options = {{{name} = {json.dumps(THINKS.get(name))}}}"
    return f"Set {option}: only then the template lets the model think, in use as well." if name else ""


def _refuse_absent(parts: Sequence[str], target: str, cure: Callable[[], str]) -> None:
    missing = next((part for part in dict.fromkeys(parts) if part not in target), None)
    if missing is not None:
        raise Refusal(f"it leaves out a part of an answer, such as {missing!r}", cure())


def _function(call: Any) -> str:
    """The name of the called function; empty if it has none."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    return str(function.get("name", "")) if isinstance(function, dict) else ""
