"""Chats of the kinds that people have, and every chat template that the training stack ships."""

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

from tests.core.worker.chat_models import Kind, make

Chat = list[dict[str, Any]]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


TOOL = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Tells the time.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}},
    },
}
CALLED = {"id": "call12345", "type": "function", "function": {"name": "clock", "arguments": {"city": "Rome"}}}
RESULT = {"role": "tool", "content": "noon", "tool_call_id": "call12345", "name": "clock"}
SYSTEM = {"role": "system", "content": "Be brief."}
PLAIN: dict[str, Chat] = {
    "one answer": [user("Why?"), answer("So.")],
    "several answers": [user("Why?"), answer("So."), user("Sure?"), answer("Yes."), user("Why not?"), answer("No.")],
    "system prompt": [SYSTEM, user("Why?"), answer("So.")],
    "system prompt, several answers": [SYSTEM, user("Why?"), answer("So."), user("Sure?"), answer("Yes.")],
    "begins as a tag": [user("Page?"), answer("<html>1</html>")],
    "begins as a prompt": [user("Page?"), answer("Here are my reasoning steps, assistant")],
    "line ends": [user("Page?\n"), answer("\nOne\n\nTwo\n")],
    "not ASCII": [user("é🙂 ?"), answer("日本語 é")],
}
THOUGHTFUL: dict[str, Chat] = {
    "thoughts": [user("Why?"), answer("So.", reasoning_content="Hm, hm.")],
    "thoughts in content": [user("Why?"), answer("<think>\nHm, hm.\n</think>\n\nSo.")],
    "several thoughts": [
        user("Why?"), answer("So.", reasoning_content="Hm, hm."),
        user("Sure?"), answer("Yes.", reasoning_content="Oh."),
    ],
}  # fmt: skip
CALLING: dict[str, Chat] = {
    "call": [user("Time?"), answer("", tool_calls=[CALLED])],
    "call and result": [user("Time?"), answer("", tool_calls=[CALLED]), RESULT, answer("It is noon.")],
    "words before a call": [user("Time?"), answer("Let me see.", tool_calls=[CALLED]), RESULT, answer("It is noon.")],
    "thoughts before a call": [
        user("Time?"), answer("", tool_calls=[CALLED], reasoning_content="Look it up."), RESULT,
        answer("It is noon.", reasoning_content="Now I know."),
    ],
}  # fmt: skip
ALARM = {"id": "call67890", "type": "function", "function": {"name": "alarm", "arguments": {"city": "Oslo"}}}
RUNG = {"role": "tool", "content": "rung", "tool_call_id": "call67890", "name": "alarm"}
PLAIN |= {
    "code": [user("Code?"), answer("```python\nwhile size < 1:\n    rows = {'area': [1]}\n```")],
    "system prompt of lines": [{"role": "system", "content": "Be brief.\n\nBe kind.\n"}, user("Why?"), answer("So.")],
    "the same answer twice": [user("Why?"), answer("So."), user("Why?"), answer("So.")],
}  # fmt: skip
THOUGHTFUL |= {
    "tags in the words": [user("Tag?"), answer("Write <think> and </think> here.")],
    "thoughts of lines": [user("Why?"), answer("So.", reasoning_content="One.\n\n- Two\n- Three")],
    "thoughts in the first answer alone": [
        user("Why?"), answer("So.", reasoning_content="Hm, hm."), user("Sure?"), answer("Yes.")
    ],
    "thoughts in the last answer alone": [
        user("Why?"), answer("So."), user("Sure?"), answer("Yes.", reasoning_content="Oh.")
    ],
}  # fmt: skip
CALLING |= {
    "two calls at once": [user("Time?"), answer("", tool_calls=[CALLED, ALARM]), RESULT, RUNG, answer("It is noon.")],
    "a call after a result": [
        user("Time?"), answer("", tool_calls=[CALLED]), RESULT, answer("", tool_calls=[ALARM]), RUNG, answer("Done.")
    ],
    "a question after a result": [
        user("Time?"), answer("", tool_calls=[CALLED]), RESULT, answer("It is noon."), user("Sure?"), answer("Yes.")
    ],
    "no call though one could": [user("Why?"), answer("So.")],
}  # fmt: skip
CHATS = PLAIN | THOUGHTFUL | CALLING


def shipped() -> dict[str, str]:
    """The templates that trl and unsloth ship for inference, by name."""
    return {f"trl {name}": text for name, text in _of_trl().items()} | {
        f"unsloth {name}": text for name, text in _of_unsloth().items()
    }


def _of_trl() -> dict[str, str]:
    folder = _package("trl") / "chat_templates"
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja")) if "training" not in path.stem}


def _of_unsloth() -> dict[str, str]:
    """Those of unsloth/chat_templates.py, which can't be imported without a GPU: its assignments of texts are run."""
    names: dict[str, Any] = {}
    for node in ast.parse((_package("unsloth") / "chat_templates.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target.endswith("_template") or target.startswith("_gemma4"):
                try:
                    exec(compile(ast.Module([node], []), "", "exec"), {"__builtins__": {}}, names)
                except NameError:  # made of something else than texts
                    continue
    return {
        name: text
        for name, text in names.items()
        if name.endswith("_template") and "{% for" in str(text).replace("{%-", "{%")
    }


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def tokenizer_for(template: str) -> Any:
    """A small tokenizer with the marks that a template names."""
    marks = re.findall(
        r"<[|｜][^<>{}'\"\s]{1,30}[|｜]>|<(?:start|end)_of_turn>|<end_of_utterance>|<turn\|>|<\|turn>", template
    )
    eos = next((mark for mark in ("<|im_end|>", "<end_of_turn>", "<turn|>") if mark in template), "</s>")
    return make(template, Kind("", tuple(dict.fromkeys(["<s>", "</s>", "<|im_end|>", *marks])), eos, "<s>"))
