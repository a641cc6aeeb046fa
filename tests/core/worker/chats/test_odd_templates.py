"""Chat templates in which a prompt is more, or other, than what stands before an answer afterwards."""

from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.worker.answers import prompt_ids, row_prompt_ids
from fitune.core.worker.chats.template import PromptOptions, Thinking
from fitune.core.worker.rows.render import RefusedRow, refuse_unknown_options, render
from tests.core.worker.chat_models import CHATML, Kind, make
from tests.core.worker.rows.test_render import ANSWER, ASK, CALL, ONE, SYSTEM, TWO, pieces

MARKS = Kind("", (*CHATML, "<think>", "</think>"), "<|im_end|>")
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
EACH = "{% for m in messages %}" + TURN + "{% endfor %}"
HEAD = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
SWITCH = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n<think>\n' + (m.reasoning_content "
    "or '') + '\n</think>\n\n' + m.content + '<|im_end|>\n' }}{% else %}" + TURN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '\n</think>\n\n' }}{% endif %}{% endif %}"
)
"""As Qwen3.5: the prompt opens thoughts, and closes them where enable_thinking is false."""
OPENS = EACH + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
"""As DeepSeek-R1: the history never shows what the prompt opens."""


def shown(row: dict[str, Any], template: str, loss_on: str = "answers", thinking: Thinking = "auto") -> list[str]:
    """Each row that is made of this one as text, the trained tokens in «»."""
    coder = make(template, MARKS)
    (made,) = render([row], coder, loss_on, PromptOptions(thinking))
    assert not isinstance(made, RefusedRow), made
    return ["".join(pieces(sample, coder)) for sample in made]


def refusal(row: dict[str, Any], template: str, options: PromptOptions | None = None) -> RefusedRow:
    (made,) = render([row], make(template, MARKS), "answers", options)
    assert isinstance(made, RefusedRow), made
    return made


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [ASK, {"role": "assistant", "content": text, **more}]}


@pytest.mark.parametrize(
    ("template", "thinking", "row", "expected"),
    [
        (OPENS, "keep", says("So."), f"{HEAD}<think>\n\n</think>\n\n«So.<|im_end|>»\n"),
        (OPENS, "off", says("So."), f"{HEAD}<think>\n«\n</think>\n\nSo.<|im_end|>»\n"),
        (OPENS, "keep", says("<html>"), f"{HEAD}<think>\n\n</think>\n\n«<html><|im_end|>»\n"),
        (OPENS, "keep", says("So.", reasoning="Hm."), f"{HEAD}<think>\n«Hm.\n</think>\n\nSo.<|im_end|>»\n"),
        (OPENS, "off", says("So.", reasoning="Hm."), f"{HEAD}<think>\n«\n</think>\n\nSo.<|im_end|>»\n"),
        (OPENS, "auto", says("<think>\n\n</think>\n\nSo."), f"{HEAD}<think>\n\n</think>\n\n«So.<|im_end|>»\n"),
        (SWITCH, "keep", says("So."), f"{HEAD}<think>\n\n</think>\n\n«So.<|im_end|>»\n"),
        (SWITCH, "off", says("So.", thinking="Hm."), f"{HEAD}<think>\n\n</think>\n\n«So.<|im_end|>»\n"),
        (SWITCH, "keep", says("So.", thinking="Hm."), f"{HEAD}<think>\n«Hm.\n</think>\n\nSo.<|im_end|>»\n"),
    ],
)
def test_an_answer_stands_behind_the_thoughts_that_the_prompt_opens(
    template: str, thinking: Thinking, row: dict[str, Any], expected: str
) -> None:
    assert shown(row, template, thinking=thinking) == [expected]


def test_empty_thoughts_that_the_prompt_closes_are_read_and_not_learned() -> None:
    closed = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think></think>' }}{% endif %}"
    assert shown(says("So."), EACH + closed, thinking="off") == [f"{HEAD}<think></think>«So.<|im_end|>»\n"]


def test_an_answer_may_begin_with_the_words_of_the_prompt() -> None:
    asks = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\nHere are my steps:\n' }}{% endif %}"
    assert shown(says("Here it is."), EACH + asks) == [f"{HEAD}Here are my steps:\n«Here it is.<|im_end|>»\n"]


def test_a_question_that_is_written_otherwise_once_answered_is_learned_as_it_is_asked() -> None:
    late = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}{% if m.role == 'user' and not "
    late += "loop.last %}{{ '\n' }}{% endif %}{{ '<|im_end|>' }}{% endfor %}"
    assert shown({"messages": ONE}, late + ASKS) == [
        "<|im_start|>user\nWhy?<|im_end|><|im_start|>assistant\n«So.<|im_end|>»"
    ]


def test_a_template_that_always_asks_ends_an_answer_before_the_next_prompt() -> None:
    always = EACH + "{{ '<|im_start|>assistant\n' }}"
    assert shown({"messages": ONE}, always) == [f"{HEAD}«So.<|im_end|>»\n"]
    coder = make(always, MARKS)
    assert coder.decode(prompt_ids([ASK], None, coder)) == HEAD


def test_a_prompt_behind_an_answer_is_known_by_its_words_where_no_mark_stands_between() -> None:
    words = "{% for m in messages %}{{ ' ' + m.role + ':' + m.content + '\n\n' }}{% endfor %}{{ ' assistant:' }}"
    long, short = shown({"messages": TWO}, words)
    assert long == " user:Why?\n\n assistant:So.\n\n user:Sure?\n\n assistant:«Yes.<|im_end|>»\n\n "
    assert short == " user:Why?\n\n assistant:«So.<|im_end|>»\n\n "


@pytest.mark.parametrize("loss_on", ["answers", "all"])
def test_each_answer_of_a_template_without_end_marks_gets_one(loss_on: str) -> None:
    bare = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}{% endfor %}"
    long, short = shown({"messages": TWO}, bare + ASKS, loss_on)
    assert long.endswith("Yes.<|im_end|>»")
    assert short == "<|im_start|>user\nWhy?<|im_start|>assistant\n«So.<|im_end|>»"


def test_an_answer_that_the_history_shows_otherwise_is_not_learned_there_with_the_questions() -> None:
    hides = "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}"
    hides += (
        "{{ '<|im_start|>assistant\n> ' + m.content + '<|im_end|>\n' }}{% else %}" + TURN + "{% endif %}{% endfor %}"
    )
    long, short = shown({"messages": TWO}, hides + ASKS, "all")
    assert "«user\nWhy?<|im_end|>\n<|im_start|>assistant\n»So.<|im_end|>\n<|im_start|>user\n«Sure?" in long
    assert short == f"{HEAD}«> So.<|im_end|>»\n"


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
@pytest.mark.parametrize("read", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_reach_the_template_under_the_key_that_it_reads(key: str, read: str) -> None:
    reads = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m." + read + " %}"
    reads += "{{ '<think>' + m." + read + " + '</think>' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    assert shown(says("So.", **{key: "Hm."}), reads + ASKS) == [f"{HEAD}«<think>Hm.</think>So.<|im_end|>»\n"]


def test_thoughts_that_a_template_does_not_read_are_refused_with_the_cure() -> None:
    refused = refusal(says("So.", thinking="Hm."), EACH + ASKS)
    assert "such as 'Hm'" in refused.why
    assert "between <think> and </think>" in refused.cure
    assert shown(says("<think>Hm.</think>So."), EACH + ASKS) == [f"{HEAD}«<think>Hm.</think>So.<|im_end|>»\n"]
    assert shown(says("So.", thinking="Hm."), EACH + ASKS, thinking="off") == [f"{HEAD}«So.<|im_end|>»\n"]


def test_thoughts_behind_a_prompt_that_closes_them_name_the_option_that_opens_it() -> None:
    closes = SWITCH.replace("enable_thinking is defined and not enable_thinking", "not enable_thinking")
    row = says("So.", thinking="Hm.")
    assert "{enable_thinking = true}" in refusal(row, closes).cure
    (made,) = render([row], make(closes, MARKS), "answers", PromptOptions("auto", {"enable_thinking": True}))
    assert not isinstance(made, RefusedRow)


def test_a_call_is_written_as_the_row_had_it_where_the_template_wants_text() -> None:
    wants = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content is none %}"
    wants += "{{ m.tool_calls[0].function.name + m.tool_calls[0].function.arguments }}{% else %}{{ m.content }}"
    wants += "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    calls = [{"function": {"name": "clock", "arguments": {"é": 1}}}]
    row = {"messages": [ASK, {**CALL, "tool_calls": calls}]}
    assert shown(row, wants + ASKS) == [f'{HEAD}«clock{{"é": 1}}<|im_end|>»\n'.replace("é", "\ufffd\ufffd")]


def test_a_template_that_writes_nothing_leaves_nothing_to_learn() -> None:
    coder = make("{% if false %}{{ messages }}{% endif %}", MARKS)
    (made,) = render([{"messages": [{"role": "user", "content": ""}, ANSWER]}], coder, "answers")
    assert not isinstance(made, RefusedRow)
    assert [sample.first for sample in made] == [None]


def test_a_template_that_reads_parts_gets_parts() -> None:
    parts = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for part in m.content %}{{ part.text }}"
    parts += "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    assert shown({"messages": ONE}, parts + ASKS) == [f"{HEAD}«So.<|im_end|>»\n"]


def test_a_system_prompt_that_moves_is_noted_and_stands_with_the_question_that_it_is_asked_with() -> None:
    last = "{% set turns = messages[1:] if messages[0].role == 'system' else messages %}{% for m in turns %}"
    last += "{% if m.role == 'user' and loop.last and messages[0].role == 'system' %}"
    last += "{{ '<|im_start|>user\n' + messages[0].content + ' ' + m.content + '<|im_end|>\n' }}"
    last += "{% else %}" + TURN + "{% endif %}{% endfor %}"
    long, short = shown({"messages": [SYSTEM, *TWO]}, last + ASKS)
    assert "user\nBe brief. Sure?<|im_end|>" in long
    assert short == f"{HEAD.replace('Why?', 'Be brief. Why?')}«So.<|im_end|>»\n"
    no_role = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + EACH + ASKS
    (made,) = render([{"messages": [SYSTEM, *ONE]}], make(no_role, MARKS), "answers")
    assert not isinstance(made, RefusedRow)
    assert [set(sample.notes) for sample in made] == [{"system_moved"}]


def test_answers_are_learned_apart_where_tokens_cross_the_ends_of_prompts() -> None:
    turns = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n\n' + m.content + '<|im_end|>' }}{% endfor %}"
    asks = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
    for splits_as_gpt2, rows in ((False, 1), (True, 2)):
        coder = make(turns + asks, Kind("", CHATML, "<|im_end|>", splits_as_gpt2=splits_as_gpt2))
        (made,) = render([{"messages": TWO}], coder, "answers")
        assert not isinstance(made, RefusedRow)
        assert len(made) == rows
        for sample, turn in zip(sorted(made, key=lambda sample: len(sample.ids)), (1, 3), strict=False):
            asked = coder.apply_chat_template(TWO[:turn], tokenize=False, add_generation_prompt=True)
            ids = coder(asked, add_special_tokens=False)["input_ids"]
            assert sample.ids[: len(ids)] == ids


def test_a_question_is_asked_as_other_programs_do_and_a_row_as_it_is_trained() -> None:
    coder = make(SWITCH, MARKS)
    for thinking, thoughts in (("keep", "<think>\n"), ("off", "<think>\n\n</think>\n\n")):
        options = PromptOptions(thinking)  # type: ignore[arg-type]
        assert coder.decode(prompt_ids([ASK], None, coder, options)) == HEAD + thoughts
        row = {"messages": [ASK, ANSWER]}
        assert coder.decode(row_prompt_ids(row, coder, options)) == f"{HEAD}<think>\n\n</think>\n\n"


def test_options_that_the_template_does_not_read_are_refused_by_name() -> None:
    coder = make(SWITCH, MARKS)
    refuse_unknown_options(coder, PromptOptions("auto", {"enable_thinking": False}))
    for options, cure in (({"thinkin": True}, "enable_thinking"), ({"chat_template": "rag"}, "It has one")):
        with pytest.raises(UserError) as raised:
            refuse_unknown_options(coder, PromptOptions("auto", options))
        assert cure in raised.value.hint
    coder.chat_template = {"default": EACH + ASKS, "tool_use": SWITCH}
    refuse_unknown_options(coder, PromptOptions("auto", {"chat_template": "tool_use"}))
