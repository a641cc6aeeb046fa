"""Ollama's template says of every chat what the tokenizer's own says, or nothing."""

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train
ASK, TOLD = {"role": "user", "content": "How\nmuch?"}, {"role": "assistant", "content": "Two."}
CHATS = [[ASK], [ASK, TOLD, ASK]]
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture
def with_template(tokenizer: Any) -> Any:
    """Gives the tokenizer one of the templates that TRL ships."""
    import trl

    before = tokenizer.chat_template
    tokenizer.bos_token = "<|endoftext|>"  # which it does not put there by itself

    def take(name: str) -> Any:
        tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()
        return tokenizer

    yield take
    tokenizer.chat_template, tokenizer.bos_token = before, None


def in_ollama(modelfile: str, messages: list[dict[str, str]]) -> str:
    """What Ollama would write: {{ range }} over the turns with an {{ if }} for each role, then the rest."""
    template = re.search(r'TEMPLATE """(.*?)"""', modelfile, re.DOTALL)
    system = re.search(r'SYSTEM """(.*?)"""', modelfile, re.DOTALL)
    assert template
    start, _, turns = template[1].partition("{{ range .Messages }}")
    body, opening = turns.split("{{ end }}{{ end }}")
    around = re.findall(r'if eq \.Role "(\w+)" }}(.*?){{ \.Content }}(.*?)(?={{ else|\Z)', body, re.DOTALL)
    if system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system[1]}, *messages]
    parts = {role: (before, after) for role, before, after in around}
    return start + "".join(parts[m["role"]][0] + m["content"] + parts[m["role"]][1] for m in messages) + opening


@pytest.mark.parametrize(
    ("name", "has_system"),
    [("qwen2_5", True), ("qwen3", True), ("llama3", True), ("gemma", False), ("cohere", True), ("lfm2", True)],
)
def test_it_writes_a_chat_as_the_training_did(with_template: Any, name: str, has_system: bool) -> None:
    from core.worker.modelfile import modelfile

    tokenizer = with_template(name)
    text, said = modelfile("m-Q8_0.gguf", tokenizer, [2])
    assert said
    assert text.startswith("FROM ./m-Q8_0.gguf\n")
    assert text.endswith('PARAMETER stop "<|im_end|>"\n')
    for chat in CHATS + ([[SYSTEM, *chat] for chat in CHATS] if has_system else []):
        expected = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert in_ollama(text, chat) == expected


@pytest.mark.parametrize("name", ["llama3_1", "gemma3", "gptoss", "phi3"])
def test_a_template_that_depends_on_more_than_the_turn_is_left_out(with_template: Any, name: str) -> None:
    from core.worker.modelfile import modelfile

    text, said = modelfile("m.gguf", with_template(name), [2])
    assert not said
    assert "TEMPLATE" not in text


def test_a_bos_that_the_tokenizer_adds_itself_is_not_written_twice(tokenizer: Any) -> None:
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    from core.worker.modelfile import turns_of

    other = deepcopy(tokenizer)
    other.bos_token = "<|endoftext|>"
    other.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    kept = turns_of(other)
    assert kept
    assert kept.render(CHATS[0]).startswith("<|endoftext|><|im_start|>user")
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    bare = turns_of(other)
    assert bare
    assert bare.render(CHATS[0]).startswith("<|im_start|>user")
