"""What a model writes behind a prompt whose end is not what stands before an answer afterwards."""

from typing import Any

import pytest

from fitune.core.worker.chats.stop_tokens import end_of_answer
from fitune.core.worker.chats.template import PromptOptions, Thinking, read
from fitune.core.worker.rows.render import RefusedRow, render
from tests.core.worker.chat_models import CHATML, Kind, make
from tests.core.worker.chats.test_odd_templates import ASKS, EACH, HEAD, MARKS, OPENS, TURN, refusal, says, shown
from tests.core.worker.rows.test_render import ASK, CALL, ONE, TWO

CALLED = [{"id": "call12345", "function": {"name": "clock", "arguments": {"city": "Rome"}}}]


def asking(prompt: str) -> str:
    return "{% if add_generation_prompt %}{{ '" + prompt + "' }}{% endif %}"


def answering(answer: str) -> str:
    """A template of chats whose answers are written in another way than other messages."""
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        + answer
        + "{% else %}"
        + TURN
        + "{% endif %}{% endfor %}"
    )


def test_what_a_call_lacks_before_it_and_an_answer_has_is_learned_with_the_answer() -> None:
    """As Hunyuan A13B, which begins an answer by its name where functions may be called."""
    begins = "{{ '<|im_start|>assistant\n' + (('' if m.tool_calls else 'Me: ') if tools else '') + m.content }}"
    calls = "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name }}{% endfor %}{{ '<|im_end|>\n' }}"
    template = answering(begins + calls) + asking("<|im_start|>assistant\n<think>\n\n</think>\n")
    row = {"messages": [ASK, {**CALL, "tool_calls": CALLED}, ASK, ONE[1]], "tools": CALLED}
    long, short = shown(row, template)
    assert short == f"{HEAD}<think>\n\n</think>\n«<call>clock<|im_end|>»\n"
    assert long.endswith("<think>\n\n</think>\n«Me: So.<|im_end|>»\n")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            answering("{{ '<|im_start|>assistant\n<|say|>' + m.content + '<|im_end|>\n' }}")
            + asking("<|im_start|>assistant\n<|see|><|/see|>"),
            f"{HEAD}<|see|><|/see|>«<|say|>So.<|im_end|>»\n",
            id="two marks that begin alike",
        ),
        pytest.param(
            answering("{{ '<|im_start|>assistant\n</think>' + m.content + '<|im_end|>\n' }}")
            + asking("<|im_start|>assistant\n<think></think>"),
            f"{HEAD}<think></think>«So.<|im_end|>»\n",
            id="the prompt ends as the text before an answer",
        ),
        pytest.param(
            answering("{{ '  <|im_start|>assistant\n' + m.content + '<|im_end|>\n' }}")
            + asking(" <|im_start|>assistant\n\n"),
            HEAD.replace("<|im_start|>assistant\n", " <|im_start|>assistant\n\n") + "«So.<|im_end|>»\n",
            id="the same but for blanks",
        ),
        pytest.param(
            answering("{{ 'Response:\n' + m.content + '<|im_end|>\n' }}") + asking("Answer in short:\n"),
            HEAD.replace("<|im_start|>assistant\n", "Answer in short:\n") + "«So.<|im_end|>»\n",
            id="other words",
        ),
    ],
)
def test_what_the_prompt_says_is_not_learned_once_more(template: str, expected: str) -> None:
    assert shown({"messages": ONE}, template) == [expected]


def test_a_template_that_always_asks_for_thoughts_ends_an_answer_before_the_next_prompt() -> None:
    ends = "{{ '<|im_start|>assistant\n<|say|>' + m.content + '<|said|><|im_end|>\n' }}"
    always = answering(ends) + "{{ '<|im_start|>assistant\n<|think|><|/think|>' }}"
    long, short = shown({"messages": TWO}, always)
    assert short == f"{HEAD}<|think|><|/think|>«<|say|>So.<|said|><|im_end|>»\n"
    assert long.endswith("<|think|><|/think|>«<|say|>Yes.<|said|><|im_end|>»\n")


def test_what_a_template_writes_behind_an_answer_only_at_the_end_is_no_part_of_it() -> None:
    judged = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n\n' }}{% endfor %}"
    judged += "{{ 'Judge the last words of the ' + messages[-1].role + '.<|im_end|>\n<|im_start|>assistant\n' }}"
    (text,) = shown({"messages": ONE}, judged)
    assert text.endswith("«So.<|im_end|>»\n\n")


def test_the_mark_of_an_answer_is_the_one_before_the_words_of_the_next_question() -> None:
    steps = "{% for m in messages %}{{ 'Source: ' + m.role + '\n\n ' + m.content + ' (step) ' }}{% endfor %}"
    long, short = shown({"messages": TWO}, steps + "{{ 'Source: assistant\nTo: user\n\n ' }}")
    assert long.endswith("Source: assistant\nTo: user\n\n «Yes. (step)<|im_end|>» ")
    assert short == "Source: user\n\n Why? (step) Source: assistant\nTo: user\n\n «So. (step)<|im_end|>» "


@pytest.mark.parametrize(
    ("tail", "prompt"),
    [
        ("{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ '<|over|>' }}{% endif %}", ""),
        ("{{ '<|im_start|>assistant\n' }}{% if add_generation_prompt %}{{ '<|say|>' }}{% endif %}", "<|say|>"),
    ],
)
def test_what_stands_behind_every_chat_is_no_part_of_an_answer(tail: str, prompt: str) -> None:
    says_so = answering("{{ '<|im_start|>assistant\n" + prompt + "' + m.content + '<|im_end|>\n' }}")
    assert shown({"messages": ONE}, says_so + tail) == [f"{HEAD}{prompt}«So.<|im_end|>»\n"]


def test_an_answer_behind_an_answer_is_refused_where_no_prompt_asks_for_it() -> None:
    continued = "{% if add_generation_prompt and messages[-1].role != 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    row = {"messages": [*ONE, {"role": "assistant", "content": "And so."}]}
    refused = refusal(row, EACH + continued + "{% endif %}")
    assert "asks for no other one" in refused.why
    assert refused.cure.startswith("Join messages")
    assert shown(row, EACH + ASKS)[0].endswith("<|im_start|>assistant\n«And so.<|im_end|>»\n")


SHOWS_NONE = (
    answering("{{ '<|im_start|>assistant\n<think></think>' + m.content + '<|im_end|>\n' }}")
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}"
)
"""As Kimi K2.5: the prompt opens thoughts, and the history closes them at once, whatever the row has."""


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (says("So.", reasoning="Hm."), f"{HEAD}<think>«Hm.</think>So.<|im_end|>»\n"),
        (says("<think>\nHm.\n</think>\n\nSo."), f"{HEAD}<think>«Hm.</think>So.<|im_end|>»\n"),
        (says("So."), f"{HEAD}<think></think>«So.<|im_end|>»\n"),
    ],
)
def test_thoughts_stand_behind_the_prompt_that_opens_them_where_the_history_drops_them(
    row: dict[str, Any], expected: str
) -> None:
    assert shown(row, SHOWS_NONE) == [expected]


CONTINUES = (
    "{% for m in messages %}{% if m.role == 'assistant' and loop.last and not m.tool_calls %}"
    "{{ '<|im_start|>assistant\n<think>\n' + m.content + '<|im_end|>\n' }}{% elif m.tool_calls %}"
    "{{ '<|im_start|>assistant\n<call>' + m.tool_calls[0].function.name + '</call><|im_end|>\n' }}"
    "{% else %}" + TURN + "{% endif %}{% endfor %}" + asking("<|im_start|>assistant\n<think>\n")
)
"""As Nemotron Nano 2: an answer at the end of a chat is taken for what follows the opened thoughts."""


@pytest.mark.parametrize(
    ("thinking", "row", "expected"),
    [
        ("keep", says("So."), f"{HEAD}<think>\n\n</think>\n\n«So.<|im_end|>»\n"),
        ("off", says("So."), f"{HEAD}<think>\n«\n</think>\n\nSo.<|im_end|>»\n"),
        ("keep", says("So.", reasoning="Hm."), f"{HEAD}<think>\n«Hm.\n</think>\n\nSo.<|im_end|>»\n"),
        ("keep", says("<think>\nHm.\n</think>\n\nSo."), f"{HEAD}<think>\n«Hm.\n</think>\n\nSo.<|im_end|>»\n"),
        (
            "keep",
            {"messages": [ASK, {**CALL, "tool_calls": CALLED}]},
            f"{HEAD}<think>\n\n</think>\n\n«<call>clock</call><|im_end|>»\n",
        ),
    ],
)
def test_an_answer_is_not_learned_within_the_thoughts(thinking: Thinking, row: dict[str, Any], expected: str) -> None:
    assert shown(row, CONTINUES, thinking=thinking) == [expected]


def test_thoughts_of_no_words_are_read_and_not_learned_where_the_template_always_writes_them() -> None:
    writes_none = answering("{{ '<|im_start|>assistant\n<think></think>' + m.content + '<|im_end|>\n' }}") + ASKS
    assert shown(says("So."), writes_none) == [f"{HEAD}<think></think>«So.<|im_end|>»\n"]
    assert shown(says("So."), writes_none, thinking="off") == [f"{HEAD}«<think></think>So.<|im_end|>»\n"]
    thoughts = "<think>\nHm.\n</think>\n\nSo."
    assert shown(says(thoughts), writes_none) == [f"{HEAD}«{thoughts}<|im_end|>»\n"]


@pytest.mark.parametrize("content", ["Hm.\n</think>\n\nSo.", "<think>Hm.</think>So."])
def test_thoughts_that_were_collected_behind_an_opening_prompt_are_thoughts(content: str) -> None:
    assert shown(says(content), OPENS) == [f"{HEAD}<think>\n«Hm.\n</think>\n\nSo.<|im_end|>»\n"]
    assert shown(says(content), OPENS, thinking="off") == [f"{HEAD}<think>\n«\n</think>\n\nSo.<|im_end|>»\n"]
    assert shown(says(content), EACH + ASKS) == [f"{HEAD}«{content}<|im_end|>»\n"]


def test_words_about_the_tags_are_no_thoughts() -> None:
    for words in ("Write <think> and </think>.", "It ends with </think> there."):
        assert shown(says(words), OPENS) == [f"{HEAD}<think>\n\n</think>\n\n«{words}<|im_end|>»\n"]


def test_no_empty_thoughts_are_learned_of_a_model_that_knows_none_where_thinking_is_off() -> None:
    assert shown(says("<think>\n\n</think>\n\nSo."), EACH + ASKS, thinking="off") == [f"{HEAD}«So.<|im_end|>»\n"]


def test_thoughts_behind_a_prompt_that_ends_them_are_refused() -> None:
    closes = answering("{{ '<|im_start|>assistant\n' + m.content + '<|im_end|>\n' }}") + asking(
        "<|im_start|>assistant\n<think>\n</think>"
    )
    refused = refusal(says("<think>Hm.</think>So."), closes)
    assert "its prompt ends the thoughts" in refused.why
    assert 'data.thinking = "off"' in refused.cure
    assert shown(says("<think>Hm.</think>So."), closes, thinking="off") == [f"{HEAD}<think>\n</think>«So.<|im_end|>»\n"]


def test_an_option_that_the_template_refuses_is_no_switch() -> None:
    always = "{% if enable_thinking is defined and not enable_thinking %}{{ raise_exception('it always thinks') }}"
    template = f"{always}{{% endif %}}{OPENS}"
    assert read(make(template, MARKS), PromptOptions()).switch is None
    assert shown(says("So."), template) == [f"{HEAD}<think>\n\n</think>\n\n«So.<|im_end|>»\n"]


def test_an_option_that_a_template_refuses_keeps_no_row_with_thoughts_out() -> None:
    """Qwen3.8 calls its efforts otherwise than most."""
    knows = "{% if reasoning_effort is defined and reasoning_effort == 'high' %}{{ raise_exception('no') }}{% endif %}"
    thinks = "{% if reasoning_effort is defined %}{% endif %}" + OPENS
    assert shown(says("So.", thinking="Hm."), knows + thinks) == [f"{HEAD}<think>\n«Hm.\n</think>\n\nSo.<|im_end|>»\n"]
    refused = refusal(says("So.", thinking="Hm."), knows + EACH + ASKS)
    assert "such as 'Hm'" in refused.why


def test_thoughts_behind_a_prompt_that_ends_them_name_the_option_that_leaves_them_open() -> None:
    """As QwQ in llama.cpp: the history shows no thoughts in any case."""
    closes = OPENS.replace("<think>\n' }}", "<think>\n' }}{% if not enable_thinking %}{{ '</think>' }}{% endif %}")
    row = says("So.", thinking="Hm.")
    assert "{enable_thinking = true}" in refusal(row, closes).cure
    (made,) = render([row], make(closes, MARKS), "answers", PromptOptions("auto", {"enable_thinking": True}))
    assert not isinstance(made, RefusedRow)


@pytest.mark.parametrize("content", ["is none", "== ''"])
@pytest.mark.parametrize("arguments", ["is string", "is mapping"])
def test_a_call_is_written_in_the_form_that_the_template_takes(content: str, arguments: str) -> None:
    takes = "{% if m.tool_calls and m.content " + content + " and m.tool_calls[0].function.arguments " + arguments
    takes += " %}{{ '<|im_start|>assistant\n' + m.tool_calls[0].function.name + '<|im_end|>\n' }}{% else %}"
    takes += "{{ raise_exception('no') }}{% endif %}"
    row = {"messages": [ASK, {**CALL, "tool_calls": CALLED}]}
    assert shown(row, answering(takes) + ASKS) == [f"{HEAD}«clock<|im_end|>»\n"]


def test_the_end_of_an_answer_is_that_of_the_template_with_the_options_of_the_run() -> None:
    coder = make("", Kind("", (*CHATML, "<|done|>"), "<|endoftext|>"))
    coder.chat_template = {"default": EACH + ASKS, "other": EACH.replace("<|im_end|>", "<|done|>") + ASKS}
    for options, mark in (({}, "<|im_end|>"), ({"chat_template": "other"}, "<|done|>")):
        assert end_of_answer(coder, PromptOptions("auto", options)) == coder.convert_tokens_to_ids(mark)


@pytest.mark.parametrize("template", ["{{ raise_exception('only with functions') }}", "{{ day + 1 }}", "{% if %}"])
def test_a_template_that_refuses_the_example_leaves_the_end_of_text(template: str) -> None:
    coder = make(template, MARKS)
    assert end_of_answer(coder, PromptOptions()) == coder.eos_token_id
