"""Rows with answers that are compared, in tokens: the context of both is the prompt that every program gives."""

from typing import Any

import pytest

from fitune.core.worker.rows.prepare import TokenCounter
from fitune.core.worker.rows.render import RefusedRow, render
from fitune.core.worker.rows.truncate import first_of, truncate

ASKED = [{"role": "user", "content": "How far is the moon?"}]
PAIR: dict[str, Any] = {
    "messages": [*ASKED, {"role": "assistant", "content": "Quite far."}],
    "rejected": {"role": "assistant", "content": "No idea, go away."},
}


def made(row: dict[str, Any], tokenizer: Any, length: int = 512) -> dict[str, list[int]]:
    (only,) = truncate([row], tokenizer, length, "answers").rows
    return only


def test_both_answers_stand_behind_the_prompt_that_programs_ask_with(tokenizer: Any) -> None:
    row = made(PAIR, tokenizer)
    first = first_of(row)
    prompt = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False)
    for ids, answer in ((row["input_ids"], "Quite far."), (row["rejected_ids"], "No idea, go away.")):
        assert tokenizer.decode(ids[:first]) == prompt
        assert tokenizer.decode(ids[first:]) == f"{answer}<|im_end|>"
    assert row["labels"][first:] == row["input_ids"][first:]


def test_a_text_and_its_two_ends_are_compared_as_texts(tokenizer: Any) -> None:
    row = made({"prompt": "The sky is ", "completion": "blue.", "rejected": "black."}, tokenizer)
    first = first_of(row)
    assert tokenizer.decode(row["input_ids"][:first]) == "The sky is "
    assert tokenizer.decode(row["rejected_ids"][first:]) == "black.<|im_end|>"


def test_only_the_last_answer_of_a_chat_is_compared(tokenizer: Any) -> None:
    before = [*ASKED, {"role": "assistant", "content": "Far.", "train": False}, *ASKED]
    row = made({**PAIR, "messages": [*before, PAIR["messages"][-1]]}, tokenizer)
    assert tokenizer.decode(row["input_ids"][first_of(row) :]) == "Quite far.<|im_end|>"


def test_a_rated_answer_keeps_its_rating(tokenizer: Any) -> None:
    for good in (True, False):
        assert made({"messages": PAIR["messages"], "label": good}, tokenizer)["rating"] == [int(good)]


def test_answers_are_cut_at_the_length_and_left_out_where_nothing_is_left(tokenizer: Any) -> None:
    whole = made(PAIR, tokenizer)
    first = first_of(whole)
    cut = truncate([PAIR], tokenizer, first + 3, "answers")
    assert cut.cut == 1
    assert [len(cut.rows[0][name]) for name in ("input_ids", "rejected_ids")] == [first + 3] * 2
    emptied = truncate([PAIR], tokenizer, first, "answers")
    assert (emptied.rows, len(emptied.emptied)) == ([], 1)


THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and m.reasoning_content %}"
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)


def test_answers_that_need_different_prompts_are_left_out(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", THINKING)
    thoughtful = {"role": "assistant", "content": "Quite far.", "reasoning_content": "Let me see."}
    found = truncate([{**PAIR, "messages": [*ASKED, thoughtful]}], tokenizer, 512, "answers")
    assert found.rows == []
    assert "different prompts" in found.refused[0].why


def test_the_prepare_job_counts_both_answers_of_one_row(tokenizer: Any) -> None:
    counter = TokenCounter(tokenizer, False)
    for rendered in render([PAIR, PAIR], tokenizer, "answers"):
        assert not isinstance(rendered, RefusedRow)
        counter.take(rendered)
    stats = counter.prepared(0)
    assert (stats.source_rows, stats.rows) == (2, 4)
