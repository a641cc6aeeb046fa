"""Refused rows say what to do about it."""

from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.worker.chats.template import PromptOptions
from fitune.core.worker.rows.render import refuse_unknown_options
from tests.core.worker.chat_models import make
from tests.core.worker.chats.test_odd_templates import ASKS, EACH, HEAD, MARKS, TURN, refusal, says, shown
from tests.core.worker.chats.test_prompt_ends import CALLED, answering
from tests.core.worker.rows.test_render import ANSWER, ASK, CALL, SYSTEM

ALTERNATES = (
    "{% set turns = messages[1:] if messages[0].role == 'system' else messages %}{% for m in turns %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% endfor %}" + EACH + ASKS
)


@pytest.mark.parametrize(
    ("chat", "cure"),
    [
        ([ASK, ASK, ANSWER], "Join messages"),
        ([ASK, ANSWER, SYSTEM, ASK, ANSWER], "Put the system prompt at the beginning"),
        ([ANSWER, ASK, ANSWER], "Begin the chat with a question"),
        ([ANSWER, ASK, ASK, ANSWER], ""),  # neither change is enough
    ],
)
def test_a_chat_that_a_change_would_mend_is_refused_with_it(chat: list[dict[str, Any]], cure: str) -> None:
    refused = refusal({"messages": chat}, ALTERNATES)
    assert "roles must alternate" in refused.why
    assert refused.cure.startswith(cure)
    assert bool(refused.cure) == bool(cure)


def test_an_option_or_a_key_that_the_template_needs_is_named() -> None:
    assert "data.template_options = {day = ...}" in refusal(says("So."), "{{ day.upper() }}" + EACH + ASKS).cure
    needs = answering("{{ m.tool_calls[0].ident + 'x' }}") + ASKS
    assert '"ident"' in refusal({"messages": [ASK, {**CALL, "tool_calls": CALLED}]}, needs).cure


@pytest.mark.parametrize("template", ["{% if %}", "{{ messages | no_such }}", "{{ messages.append(1) }}"])
def test_a_template_that_can_not_be_run_is_to_be_repaired(template: str) -> None:
    assert "repair its chat_template.jinja" in refusal(says("So."), template).cure


def test_options_for_a_template_that_can_not_be_read_are_refused_and_none_are_not() -> None:
    coder = make("{% if %}", MARKS)
    refuse_unknown_options(coder, PromptOptions())
    with pytest.raises(UserError, match="can't be read"):
        refuse_unknown_options(coder, PromptOptions("auto", {"day": 1}))


def test_a_template_for_functions_asks_for_them() -> None:
    needs = "{% for t in tools %}{{ t.function.name }}{% endfor %}" + EACH + ASKS
    assert "made for chats with functions" in refusal(says("So."), needs).cure


def test_thoughts_are_put_into_the_content_only_where_that_helps() -> None:
    assert "between <think> and </think>" in refusal(says("So.", thinking="Hm."), EACH + ASKS).cure
    drops = answering("{{ '<|im_start|>assistant\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}") + ASKS
    for row in (says("So.", thinking="Hm."), says("<think>Hm.</think>So.")):
        assert "between <think>" not in refusal(row, drops).cure
        assert 'data.thinking = "off"' in refusal(row, drops).cure
        assert shown(row, drops, thinking="off") == [f"{HEAD}«So.<|im_end|>»\n"]


def test_a_template_that_writes_ids_for_names_asks_for_such_ids() -> None:
    writes = answering("{{ '<|im_start|>assistant\n' + (m.tool_calls[0].id or '') + '<|im_end|>\n' }}") + ASKS
    refused = refusal({"messages": [ASK, {**CALL, "tool_calls": CALLED}]}, writes)
    assert "'clock'" in refused.why
    assert "functions.get_weather:0" in refused.cure


def test_what_is_lost_is_told_before_what_is_moved_by_itself() -> None:
    no_role = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    chat = [SYSTEM, ASK, {**CALL, "tool_calls": CALLED}]
    assert "leaves out a part of an answer, such as 'clock'" in refusal({"messages": chat}, no_role + EACH + ASKS).why


def test_an_answer_that_is_not_shown_at_all_is_said_to_be_left_out() -> None:
    hides = "{% for m in messages if not m.tool_calls %}" + TURN + "{% endfor %}" + ASKS
    chat = [ASK, {**CALL, "tool_calls": CALLED}]
    assert "leaves out a part of an answer, such as 'clock'" in refusal({"messages": chat}, hides).why
