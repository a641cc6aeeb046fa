"""Ollama's Modelfile for an exported model, with the training's chat template translated to Ollama's Go template."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

from fitune.core.worker.chats.rows import render_prompt
from fitune.core.worker.chats.surroundings import QUESTION, THOUGHT, THOUGHTFUL
from fitune.core.worker.chats.template import ChatTemplate, PromptOptions, read

Turn = dict[str, str]
ROLES = ("system", "user", "assistant")
MARKERS = {role: f"SAID BY THE {role.upper()}" for role in ROLES}
TOOL = {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {"type": "object"}}}


@dataclass(frozen=True, slots=True)
class TurnTemplate:
    """A chat template that writes each message independently: the text before and after it, by its role."""

    around: dict[str, tuple[str, str]]
    opening: str
    """The generation prompt, at the end."""
    system: str
    """The template's system prompt for a chat without one; may be empty."""
    start: str = ""
    """The text before everything: a BOS that the tokenizer does not add itself."""
    between: str | None = None
    """The text between a system prompt and the first question, in which it stands; None if it has a turn of its own."""
    always_system: bool = False
    """True if a chat without a system prompt has an empty one (Llama 3.1)."""
    opening_without_thinking: str | None = None
    """The generation prompt by which the model answers without thinking; None if there is no other."""

    def render(self, messages: list[Turn]) -> str:
        """The text of a chat, as the chat template writes it."""
        if messages[0]["role"] != "system" and (self.system or self.always_system):
            messages = [{"role": "system", "content": self.system}, *messages]
        if messages[0]["role"] == "system" and self.between is not None:
            system, first, *rest = messages
            messages = [{**first, "content": f"{system['content']}{self.between}{first['content']}"}, *rest]
        texts = (self.around[turn["role"]][0] + turn["content"] + self.around[turn["role"]][1] for turn in messages)
        return self.start + "".join(texts) + self.opening


def find_turn_template(tokenizer: Any, options: PromptOptions | None = None) -> TurnTemplate | None:
    """The tokenizer's chat template as TurnTemplate; None if that writes a test chat differently."""
    template = read(tokenizer, options or PromptOptions())
    found = _turns(template, template.options.thinking == "off")
    other = _turns(template, True) if found and template.switch and template.options.thinking != "off" else None
    if found and other and replace(other, opening=found.opening) == found:
        return replace(found, opening_without_thinking=other.opening)
    return found


def modelfile(
    file_name: str, tokenizer: Any, stops: list[int], options: PromptOptions | None = None
) -> tuple[str, bool]:
    """The Modelfile's text for a GGUF file beside it, and True if it contains the chat template.

    Without it, Ollama uses the template in the GGUF file, which it supports for common models only. options: of the
    run's recipe.
    """
    turns = find_turn_template(tokenizer, options)
    lines = [f"FROM ./{file_name}"]
    if turns:
        tags = _thought_tags(read(tokenizer, options or PromptOptions()))
        lines += [f'TEMPLATE """{_go_template(turns, tags)}"""']
        lines += [f'SYSTEM """{turns.system}"""'] if turns.system else []
    lines += [f'PARAMETER stop "{tokenizer.decode([token])}"' for token in stops]
    return "\n".join(lines) + "\n", turns is not None


def warnings(tokenizer: Any, has_template: bool, options: PromptOptions) -> Iterator[str]:
    """What a Modelfile does not say of the chat template, in sentences."""
    template = read(tokenizer, options)
    if not has_template:
        yield (
            "The chat template can't be translated for Ollama: it will use the one in the file, which it supports for "
            "common models only. Compare an answer before you rely on it."
        )
    elif _shows_tools(template):
        yield (
            "The TEMPLATE in the Modelfile writes no tools and no calls. For programs that use tools, serve the file "
            "with llama.cpp (llama-server --jinja), which reads the chat template in it."
        )


def _shows_tools(template: ChatTemplate) -> bool:
    try:
        return template.prompt([QUESTION], [TOOL]) != template.prompt([QUESTION], None)
    except TemplateError:
        return False


def _turns(template: ChatTemplate, without_thinking: bool) -> TurnTemplate | None:
    """The template as TurnTemplate, asked in the usual way or in the one that switches thinking off."""
    tokenizer = template.tokenizer
    bos = tokenizer.bos_token or ""
    added = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    for start in (bos,) if added or not bos else ("", bos):

        def rendered(messages: list[Turn], opening: bool = True, start: str = start) -> str:
            prompt, text = template.prompt(messages, None, without_thinking), template.text(messages, None)
            if not prompt.startswith(text):  # Phi-3 ends a chat that asks for no answer with an end of text
                text = text.removesuffix(tokenizer.eos_token or "")
            return (prompt if opening else text).removeprefix(start)

        def asked(messages: list[Turn], start: str = start) -> str:
            return render_prompt(messages, None, template, without_thinking).removeprefix(start)

        try:
            turns = _parse_turns(rendered)
            is_right = all(turns.render(chat) == asked(chat) for chat in _chats())
        except (TemplateError, ValueError):
            continue
        parts = (*(part for pair in turns.around.values() for part in pair), turns.opening, turns.between or "")
        text = "".join((*parts, turns.system))
        if is_right and "{{" not in text and '"""' not in text:
            return turns if added else replace(turns, start=start)
    return None


def _thought_tags(template: ChatTemplate) -> tuple[str, str] | None:
    """The tags around thoughts, where the model is to think and earlier thoughts are not shown; else None."""
    usual = template.usual
    if not template.makes_think or (template.options.thinking == "off" and template.switch):
        return None
    if not template.shows_thoughts:
        return (usual.opening.strip(), usual.closing.strip()) if usual.closing else None
    try:
        keeps = THOUGHT in template.prompt([QUESTION, THOUGHTFUL, QUESTION], None)
    except TemplateError:
        return None
    return None if keeps else template.thought_tags


def _go_template(turns: TurnTemplate, tags: tuple[str, str] | None) -> str:
    """The Go template (https://docs.ollama.com/template); .Messages are the turns with the system prompt.

    tags: around thoughts. Ollama looks for them around .Thinking, which is written nowhere: no earlier answer is shown
    with its thoughts.
    """
    around = dict(turns.around)
    text = turns.start
    if turns.always_system:
        before, after = around.pop("system")
        text += f"{before}{{{{ .System }}}}{after}"
    text += "{{ $first := true }}" if turns.between is not None else ""
    text += "{{ range .Messages }}"
    text += f"{{{{ if false }}}}{tags[0]}{{{{ .Thinking }}}}{tags[1]}{{{{ end }}}}" if tags else ""
    for index, (role, (before, after)) in enumerate(around.items()):
        content = "{{ .Content }}"
        if role == "user" and turns.between is not None:
            system = f"{{{{ if and $first $.System }}}}{{{{ $.System }}}}{turns.between}{{{{ end }}}}"
            content = f"{system}{{{{ $first = false }}}}{content}"
        text += f'{{{{ {"else if" if index else "if"} eq .Role "{role}" }}}}{before}{content}{after}'
    text += "{{ end }}{{ end }}"
    if turns.opening_without_thinking is None:
        return text + turns.opening
    off = turns.opening_without_thinking
    return f"{text}{{{{ if and .IsThinkSet (not .Think) }}}}{off}{{{{ else }}}}{turns.opening}{{{{ end }}}}"


def _parse_turns(rendered: Callable[..., str]) -> TurnTemplate:
    """The texts around a message of each role, from a rendered chat whose messages are unique markers."""
    chat = [{"role": role, "content": MARKERS[role]} for role in ("user", "assistant", "user")]
    question = rendered(chat, opening=False)
    opening = rendered(chat).removeprefix(question)
    head, between, middle, tail = _around(question, [turn["content"] for turn in chat])
    if not between.startswith(tail):
        raise ValueError("the text after a question depends on its answer")
    # Between an answer and the next question: as a rule the end token is that of a question.
    after = tail if tail and middle.startswith(tail) else middle.removesuffix(_shared_end(head, middle))
    before = middle.removeprefix(after)
    if not head.endswith(before):
        raise ValueError("a later question begins differently from the first")
    user, assistant = (before, tail), (between.removeprefix(tail), after)
    turns = TurnTemplate({"user": user, "assistant": assistant}, opening, "")
    return _with_system(turns, head, lambda system: rendered([system, *chat], opening=False))


def _with_system(turns: TurnTemplate, head: str, rendered: Callable[[Turn], str]) -> TurnTemplate:
    """The template with its system prompts. head: the text before the first question. rendered: a chat behind one."""
    before, _ = turns.around["user"]
    default = head.removesuffix(before)
    try:
        text = rendered({"role": "system", "content": MARKERS["system"]})
        start, rest, *_ = _around(text, [MARKERS["system"], MARKERS["user"]])
    except (TemplateError, ValueError):
        return replace(turns, between="\n\n") if not default else turns  # as the training writes it: chats/messages.py
    if start == head and not default:
        return replace(turns, between=rest)
    around = {**turns.around, "system": (start, rest.removesuffix(before))}
    is_empty = bool(default) and default == "".join(around["system"])
    system = default.removeprefix(start).removesuffix(around["system"][1])
    return replace(turns, around=around, system=system, always_system=is_empty)


def _around(text: str, contents: list[str]) -> list[str]:
    """The texts before, between and after some contents. Raises ValueError if one is missing."""
    parts = []
    for content in contents:
        part, separator, text = text.partition(content)
        if not separator:
            raise ValueError("the template does not show every message")
        parts.append(part)
    return [*parts, text]


def _shared_end(one: str, other: str) -> str:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return one[len(one) - count :]


def _chats() -> list[list[Turn]]:
    ask, answer = {"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well.\n\nAnd you?"}
    plain = [[ask], [ask, answer, ask], [ask, answer, ask, answer, {"role": "user", "content": "A  list:\n- 1"}]]
    return plain + [[{"role": "system", "content": "Be brief."}, *chat] for chat in plain]
