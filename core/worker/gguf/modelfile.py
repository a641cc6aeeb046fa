"""Ollama's Modelfile for an exported model, with the training's chat template translated to Ollama's Go template."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

Turn = dict[str, str]
ROLES = ("system", "user", "assistant")
MARKERS = {role: f"SAID BY THE {role.upper()}" for role in ROLES}


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

    def render(self, messages: list[Turn]) -> str:
        """The text of a chat, as the chat template writes it."""
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        texts = (self.around[turn["role"]][0] + turn["content"] + self.around[turn["role"]][1] for turn in messages)
        return self.start + "".join(texts) + self.opening


def find_turn_template(tokenizer: Any) -> TurnTemplate | None:
    """The tokenizer's chat template as TurnTemplate; None if that writes a test chat differently."""
    bos = tokenizer.bos_token or ""
    added = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    for start in (bos,) if added or not bos else ("", bos):

        def rendered(messages: list[Turn], opening: bool = True, start: str = start) -> str:
            texts = [
                str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
                for prompt in (True, False)
            ]
            if not texts[0].startswith(texts[1]):  # Phi-3 ends a chat that asks for no answer with an end of text
                texts[1] = texts[1].removesuffix(tokenizer.eos_token or "")
            return texts[0 if opening else 1].removeprefix(start)

        try:
            template = _parse_turns(rendered)
        except (TemplateError, ValueError):
            continue
        text = "".join(
            (*(part for pair in template.around.values() for part in pair), template.opening, template.system)
        )
        is_right = all(template.render(chat) == rendered(chat) for chat in _chats("system" in template.around))
        if is_right and "{{" not in text and '"""' not in text:
            return template if added else replace(template, start=start)
    return None


def modelfile(file_name: str, tokenizer: Any, stops: list[int]) -> tuple[str, bool]:
    """The Modelfile's text for a GGUF file beside it, and True if it contains the chat template.

    Without it, Ollama uses the template in the GGUF file, which it supports for common models only.
    """
    turns = find_turn_template(tokenizer)
    lines = [f"FROM ./{file_name}"]
    if turns:
        lines += [f'TEMPLATE """{_go_template(turns)}"""']
        lines += [f'SYSTEM """{turns.system}"""'] if turns.system else []
    lines += [f'PARAMETER stop "{tokenizer.decode([token])}"' for token in stops]
    return "\n".join(lines) + "\n", turns is not None


def _go_template(turns: TurnTemplate) -> str:
    """The Go template (https://docs.ollama.com/template); .Messages are the turns with the system prompt."""
    text = turns.start + "{{ range .Messages }}"
    for index, (role, (before, after)) in enumerate(turns.around.items()):
        text += f'{{{{ {"else if" if index else "if"} eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
    return text + "{{ end }}{{ end }}" + turns.opening


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
    around = {"user": user, "assistant": assistant}
    try:
        with_system = rendered([{"role": "system", "content": MARKERS["system"]}, *chat], opening=False)
        start, rest, *_ = _around(with_system, [MARKERS["system"], MARKERS["user"]])
    except (TemplateError, ValueError):
        return TurnTemplate(around, opening, "")
    around["system"] = (start, rest.removesuffix(before))
    default = head[: len(head) - len(before)]
    if default:
        default = default.removeprefix(start).removesuffix(around["system"][1])
    return TurnTemplate(around, opening, default)


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


def _chats(system: bool) -> list[list[Turn]]:
    ask, answer = {"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well.\n\nAnd you?"}
    plain = [[ask], [ask, answer, ask], [ask, answer, ask, answer, {"role": "user", "content": "A  list:\n- 1"}]]
    return plain + [[{"role": "system", "content": "Be brief."}, *chat] for chat in plain] if system else plain
