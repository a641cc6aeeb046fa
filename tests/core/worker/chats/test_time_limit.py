"""A chat template that never ends is ended, and said to be the model's."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.worker.chats import time_limit
from fitune.core.worker.chats.time_limit import limit_template

LOOP = "{% for n in range(99999) %}"
ENDLESS = LOOP * 3 + "{% endfor %}" * 3


def tokenizer(template: str) -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    compiled = ImmutableSandboxedEnvironment().from_string(template)
    made = SimpleNamespace(apply_chat_template=lambda messages: compiled.render(messages=messages))
    limit_template(made)
    return made


def test_an_endless_template_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "RENDER_WITHIN_S", 0.2)
    with pytest.raises(UserError, match="does not come to an end"):
        tokenizer(ENDLESS).apply_chat_template([])


def test_a_usual_template_and_what_comes_after_it_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "RENDER_WITHIN_S", 0.2)
    assert tokenizer("{{ messages }}").apply_chat_template([1]) == "[1]"
    end_s = time.process_time() + 0.4
    while time.process_time() < end_s:
        pass


def test_another_thread_is_not_limited_and_does_not_fail() -> None:
    from concurrent.futures import ThreadPoolExecutor

    render: Callable[[list[int]], str] = tokenizer("{{ messages }}").apply_chat_template
    with ThreadPoolExecutor() as pool:
        assert pool.submit(render, [1]).result() == "[1]"
