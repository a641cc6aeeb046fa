"""Ollama's template says of every chat what the tokenizer's own says, or nothing."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train
ASK, TOLD = {"role": "user", "content": "How\nmuch?"}, {"role": "assistant", "content": "Two."}
CHATS = [[ASK], [ASK, TOLD, ASK]]
SYSTEM = {"role": "system", "content": "Be brief."}

OTHERS = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "phi4": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
}
"""What those families' tokenizers say, in fewer words; they are not among TRL's."""


@pytest.fixture
def with_template(tokenizer: Any) -> Any:
    """Gives the tokenizer one of the templates that TRL ships, or of OTHERS."""
    import trl

    before = tokenizer.chat_template
    tokenizer.bos_token = "<|endoftext|>"  # which it does not put there by itself

    def take(name: str) -> Any:
        shipped = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
        tokenizer.chat_template = OTHERS[name] if name in OTHERS else shipped.read_text()
        return tokenizer

    yield take
    tokenizer.chat_template, tokenizer.bos_token = before, None


@dataclass(slots=True)
class Ollama:
    """The data that Ollama gives to a template, and its only variable."""

    messages: list[dict[str, str]]
    first: bool = False

    @property
    def system(self) -> str:
        return "".join(message["content"] for message in self.messages if message["role"] == "system")

    def holds(self, condition: str, dot: dict[str, str]) -> bool:
        """True if the condition of an {{ if }} holds; nobody has asked for an answer with or without thinking."""
        if role := re.fullmatch(r'eq \.Role "(\w+)"', condition):
            return dot["role"] == role[1]
        known = {
            "false": False,
            "and $first $.System": self.first and bool(self.system),
            "and .IsThinkSet (not .Think)": False,
        }
        return known[condition]

    def say(self, word: str, dot: dict[str, str]) -> str:
        """What stands for an action that is no {{ if }}."""
        if word in ("$first := true", "$first = false"):
            self.first = word.endswith("true")
            return ""
        known = {".System": self.system, "$.System": self.system, ".Content": dot.get("content", ""), ".Thinking": ""}
        return known[word]


def in_ollama(modelfile: str, messages: list[dict[str, str]]) -> str:
    """What Ollama would write: SYSTEM comes first in a chat that has none, and TEMPLATE is Go's text/template, of which
    this knows as much as is used (test_modelfile_in_go.py runs Go itself)."""
    template = re.search(r'TEMPLATE """(.*?)"""', modelfile, re.DOTALL)
    system = re.search(r'SYSTEM """(.*?)"""', modelfile, re.DOTALL)
    assert template
    if system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system[1]}, *messages]
    parts = re.split(r"({{.*?}})", template[1], flags=re.DOTALL)
    assert not any(part.startswith("{{-") or part.endswith("-}}") for part in parts)  # they would eat white space
    text, rest = run_go(parts, {}, Ollama(messages))
    assert not rest
    return text


def run_go(parts: list[str], dot: dict[str, str], data: Ollama) -> tuple[str, list[str]]:
    """The text of a template's parts up to the {{ else }} or {{ end }} that closes them, and the rest."""
    told = ""
    while parts:
        part, *rest = parts
        word = part.removeprefix("{{").removesuffix("}}").strip()
        if not part.startswith("{{"):
            told += part
        elif word == "end" or word.startswith("else"):
            return told, parts
        elif word == "range .Messages":
            body = rest
            for message in data.messages:
                text, rest = run_go(body, message, data)
                told += text
            assert rest[0] == "{{ end }}"
            rest = rest[1:]
        elif word.startswith("if "):
            text, rest = choose_go(word, rest, dot, data)
            told += text
        else:
            told += data.say(word, dot)
        parts = rest
    return told, []


def choose_go(word: str, parts: list[str], dot: dict[str, str], data: Ollama) -> tuple[str, list[str]]:
    """The first branch of an {{ if }} whose condition holds, and what is left behind its {{ end }}."""
    chosen = None
    while word != "end":
        condition = word.removeprefix("else").strip().removeprefix("if ")
        holds = chosen is None and (not condition or data.holds(condition, dot))
        first = data.first
        text, (closing, *parts) = run_go(parts, dot, data)
        if holds:
            chosen = text
        else:
            data.first = first
        word = closing.removeprefix("{{").removesuffix("}}").strip()
    return chosen or "", parts


@pytest.mark.parametrize(
    ("name", "has_system"),
    [
        ("chatml", True), ("qwen2_5", True), ("qwen3", True), ("llama3", True), ("mistral", False), ("gemma", False),
        ("llama3_1", True), ("gemma3", True), ("qwen3_6", True),
        ("phi3", True), ("phi3_5", True), ("phi4", True), ("cohere", True), ("lfm2", True),
    ],
)  # fmt: skip
def test_it_writes_a_chat_as_the_training_did(with_template: Any, name: str, has_system: bool) -> None:
    from fitune.core.worker.gguf.modelfile import modelfile

    tokenizer = with_template(name)
    text, said = modelfile("m-Q8_0.gguf", tokenizer, [0, 2])
    assert said
    assert text.startswith("FROM ./m-Q8_0.gguf\n")
    assert text.endswith('PARAMETER stop "<|endoftext|>"\nPARAMETER stop "<|im_end|>"\n')
    for chat in CHATS + ([[SYSTEM, *chat] for chat in CHATS] if has_system else []):
        expected = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert in_ollama(text, chat) == expected


@pytest.mark.parametrize("name", ["mistral", "gemma"])
def test_a_system_prompt_without_a_role_stands_with_the_first_question(with_template: Any, name: str) -> None:
    from fitune.core.worker.gguf.modelfile import modelfile

    tokenizer = with_template(name)
    text, _ = modelfile("m.gguf", tokenizer, [2])
    moved = [{"role": "user", "content": "Be brief.\n\nHow\nmuch?"}, *CHATS[1][1:]]
    expected = tokenizer.apply_chat_template(moved, tokenize=False, add_generation_prompt=True)
    assert in_ollama(text, [SYSTEM, *CHATS[1]]) == expected


@pytest.mark.parametrize("name", ["cohere2", "glm4moe", "gptoss"])
def test_a_template_that_depends_on_more_than_the_turn_is_left_out(with_template: Any, name: str) -> None:
    from fitune.core.worker.gguf.modelfile import modelfile

    text, said = modelfile("m.gguf", with_template(name), [2])
    assert not said
    assert "TEMPLATE" not in text


def test_tools_that_the_template_knows_are_told_as_left_out(with_template: Any) -> None:
    from fitune.core.worker.chats.template import PromptOptions
    from fitune.core.worker.gguf.modelfile import warnings

    told = {
        (name, said): list(warnings(with_template(name), said, PromptOptions()))
        for name, said in (("qwen3", True), ("llama3", True), ("gptoss", False))
    }
    assert "writes no tools" in told["qwen3", True][0]
    assert told["llama3", True] == []
    assert "can't be translated" in told["gptoss", False][0]


def test_a_bos_that_the_tokenizer_adds_itself_is_not_written_twice(tokenizer: Any) -> None:
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    from fitune.core.worker.gguf.modelfile import find_turn_template

    other = deepcopy(tokenizer)
    other.bos_token = "<|endoftext|>"
    other.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    kept = find_turn_template(other)
    assert kept
    assert kept.render(CHATS[0]).startswith("<|endoftext|><|im_start|>user")
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    bare = find_turn_template(other)
    assert bare
    assert bare.render(CHATS[0]).startswith("<|im_start|>user")
