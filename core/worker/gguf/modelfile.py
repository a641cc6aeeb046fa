"""Ollama's Modelfile for an exported model, with the chat template of its training said in Ollama's own language."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

Turn = dict[str, str]
ROLES = ("system", "user", "assistant")
SAID = {role: f"SAID BY THE {role.upper()}" for role in ROLES}


@dataclass(frozen=True, slots=True)
class Turns:
    """A chat template that writes each message by itself: what stands before and after it, by its role."""

    around: dict[str, tuple[str, str]]
    opening: str
    """What asks for an answer, at the end."""
    system: str
    """The system prompt that the template puts where a chat has none; may be empty."""
    start: str = ""
    """What stands before everything: a BOS that the tokenizer does not put there by itself."""

    def render(self, messages: list[Turn]) -> str:
        """As the template would."""
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        told = (self.around[turn["role"]][0] + turn["content"] + self.around[turn["role"]][1] for turn in messages)
        return self.start + "".join(told) + self.opening


def turns_of(tokenizer: Any) -> Turns | None:
    """The tokenizer's chat template as Turns; None if that would not say the same on every chat tried."""
    bos = tokenizer.bos_token or ""
    added = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    for start in (bos,) if added or not bos else ("", bos):

        def rendered(messages: list[Turn], opening: bool = True, start: str = start) -> str:
            told = [
                str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks))
                for asks in (True, False)
            ]
            if not told[0].startswith(told[1]):  # Phi-3 ends a chat that asks for no answer with an end of text
                told[1] = told[1].removesuffix(tokenizer.eos_token or "")
            return told[0 if opening else 1].removeprefix(start)

        try:
            found = _taken_apart(rendered)
        except (TemplateError, ValueError):
            continue
        text = "".join((*(part for pair in found.around.values() for part in pair), found.opening, found.system))
        sound = all(found.render(chat) == rendered(chat) for chat in _chats("system" in found.around))
        if sound and "{{" not in text and '"""' not in text:
            return found if added else replace(found, start=start)
    return None


def modelfile(file_name: str, tokenizer: Any, stops: list[int]) -> tuple[str, bool]:
    """The Modelfile's text for a GGUF file beside it, and whether it says the chat template itself.

    Where it can't, Ollama goes by the template in the GGUF file, which it knows for common models only.
    """
    turns = turns_of(tokenizer)
    lines = [f"FROM ./{file_name}"]
    if turns:
        lines += [f'TEMPLATE """{_in_go(turns)}"""']
        lines += [f'SYSTEM """{turns.system}"""'] if turns.system else []
    lines += [f'PARAMETER stop "{tokenizer.decode([token])}"' for token in stops]
    return "\n".join(lines) + "\n", turns is not None


def _in_go(turns: Turns) -> str:
    """https://docs.ollama.com/template: .Messages are the turns, the system prompt among them."""
    told = turns.start + "{{ range .Messages }}"
    for place, (role, (before, after)) in enumerate(turns.around.items()):
        told += f'{{{{ {"else if" if place else "if"} eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
    return told + "{{ end }}{{ end }}" + turns.opening


def _taken_apart(rendered: Callable[..., str]) -> Turns:
    """What the template writes around a message of each role, by a chat whose messages can be found again."""
    chat = [{"role": role, "content": SAID[role]} for role in ("user", "assistant", "user")]
    asked = rendered(chat, opening=False)
    opening = rendered(chat).removeprefix(asked)
    head, between, middle, tail = _around(asked, [turn["content"] for turn in chat])
    if not between.startswith(tail):
        raise ValueError("what follows a question depends on whether it is answered")
    # Between an answer and the next question: as a rule the end mark is that of a question.
    after = tail if tail and middle.startswith(tail) else middle.removesuffix(_shared_end(head, middle))
    before = middle.removeprefix(after)
    if not head.endswith(before):
        raise ValueError("a later question is begun otherwise than the first")
    user, assistant = (before, tail), (between.removeprefix(tail), after)
    around = {"user": user, "assistant": assistant}
    try:
        told = rendered([{"role": "system", "content": SAID["system"]}, *chat], opening=False)
        start, rest, *_ = _around(told, [SAID["system"], SAID["user"]])
    except (TemplateError, ValueError):
        return Turns(around, opening, "")
    around["system"] = (start, rest.removesuffix(before))
    default = head[: len(head) - len(before)]
    if default:
        default = default.removeprefix(start).removesuffix(around["system"][1])
    return Turns(around, opening, default)


def _around(text: str, contents: list[str]) -> list[str]:
    """What stands before, between and after some texts. Raises ValueError if one is not there."""
    parts = []
    for content in contents:
        part, found, text = text.partition(content)
        if not found:
            raise ValueError("the template does not show every message")
        parts.append(part)
    return [*parts, text]


def _shared_end(one: str, other: str) -> str:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return one[len(one) - count :]


def _chats(system: bool) -> list[list[Turn]]:
    ask, told = {"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well.\n\nAnd you?"}
    plain = [[ask], [ask, told, ask], [ask, told, ask, told, {"role": "user", "content": "A  list:\n- 1"}]]
    return plain + [[{"role": "system", "content": "Be brief."}, *chat] for chat in plain] if system else plain
