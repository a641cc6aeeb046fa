"""What the model sees of a row and which tokens it is trained to write, template by template."""

from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.worker.rows.render import RefusedRow, ensure_template, render, text_part
from fitune.core.worker.rows.tokenized import IGNORED, TokenizedRow
from fitune.core.worker.rows.truncate import nothing_left_error, truncate
from tests.core.worker.chat_models import CHATML, KINDS, Kind, make, tokenizer

SYSTEM = {"role": "system", "content": "Be brief."}
ASK, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
MORE, AGAIN = {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}
ONE, TWO = [ASK, ANSWER], [ASK, ANSWER, MORE, AGAIN]


def shown(row: dict[str, Any], coder: Any, loss_on: str = "answers") -> list[str]:
    """Each sample of a row as text, the trained tokens in «»."""
    (made,) = render([row], coder, loss_on)
    assert not isinstance(made, RefusedRow), made
    return ["".join(pieces(sample, coder)) for sample in made]


def pieces(sample: Any, coder: Any) -> list[str]:
    out = []
    for place, (token, label) in enumerate(zip(sample.ids, sample.labels, strict=True)):
        before = place and sample.labels[place - 1] != IGNORED
        out += ["«"] if label != IGNORED and not before else ["»"] if label == IGNORED and before else []
        out.append(coder.decode([token]))
    return [*out, "»"] if sample.labels[-1] != IGNORED else out


HEAD = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
SMOL = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
R1 = "<｜begin▁of▁sentence｜><｜User｜>Why?<｜Assistant｜>"
EMPTY = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("model", "messages", "expected"),
    [
        (
            "llama3", TWO,
            ["<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant"
             "<|end_header_id|>\n\n«So.<|eot_id|>»<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"
             "<|start_header_id|>assistant<|end_header_id|>\n\n«Yes.<|eot_id|>»"],
        ),
        ("qwen2.5", ONE, [f"{QWEN}{HEAD}«So.<|im_end|>»\n"]),
        (
            "qwen2.5", TWO,
            [f"{QWEN}{HEAD}«So.<|im_end|>»\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n«Yes.<|im_end|>»\n"],
        ),
        ("qwen3", ONE, [f"{HEAD}{EMPTY}«So.<|im_end|>»\n"]),
        (
            "qwen3", TWO,  # shown without its thinking, the first answer is learnt in a chat of its own
            [f"{HEAD}So.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n{EMPTY}«Yes.<|im_end|>»\n",
             f"{HEAD}{EMPTY}«So.<|im_end|>»\n"],
        ),
        (
            "qwen3", [ASK, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSo."}],
            [f"{HEAD}«<think>\nHm.\n</think>\n\nSo.<|im_end|>»\n"],
        ),
        ("mistral", TWO, ["<s>[INST] Why?[/INST]« So.</s>»[INST] Sure?[/INST]« Yes.</s>»"]),
        ("mistral", [SYSTEM, *ONE], ["<s>[INST] Be brief.\n\nWhy?[/INST]« So.</s>»"]),
        (
            "gemma", TWO,
            ["<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n«So.<end_of_turn>»\n"
             "<start_of_turn>user\nSure?<end_of_turn>\n<start_of_turn>model\n«Yes.<end_of_turn>»\n"],
        ),
        (
            "gemma", [SYSTEM, *ONE],
            ["<bos><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n«So.<end_of_turn>»\n"],
        ),
        (
            "phi3", TWO,
            ["<|user|>\nWhy?<|end|>\n<|assistant|>\n«So.<|end|>»\n<|user|>\nSure?<|end|>\n<|assistant|>\n"
             "«Yes.<|end|>\n<|endoftext|>»"],
        ),
        ("smollm2", ONE, [f"{SMOL}{HEAD}«So.<|im_end|>»\n"]),
        ("smollm2", [SYSTEM, *ONE], [f"<|im_start|>system\nBe brief.<|im_end|>\n{HEAD}«So.<|im_end|>»\n"]),
        ("smollm2", [*ONE, MORE], [f"{SMOL}{HEAD}«So.<|im_end|>»\n<|im_start|>user\nSure?<|im_end|>\n"]),
        ("deepseek-r1", ONE, [f"{R1}<think>\n\n</think>\n\n«So.<｜end▁of▁sentence｜>»"]),
        (
            "deepseek-r1", [ASK, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSo."}],
            [f"{R1}<think>\n«Hm.\n</think>\n\nSo.<｜end▁of▁sentence｜>»"],
        ),
    ],
)  # fmt: skip
def test_answers_and_their_end_marks_are_trained_and_nothing_else(
    model: str, messages: list[dict[str, str]], expected: list[str]
) -> None:
    assert shown({"messages": messages}, tokenizer(model)) == expected


def test_all_tokens_but_the_first_are_trained_on_request() -> None:
    (text,) = shown({"messages": TWO}, tokenizer("mistral"), "all")
    assert text == "<s>«[INST] Why?[/INST] So.</s>[INST] Sure?[/INST] Yes.</s>»"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Why? ", "completion": "So."}, "<s>Why? «So.</s>»"),
        ({"prompt": "<s>Why? ", "completion": "So.</s>\n"}, "<s>Why? «So.</s>»"),
        ({"prompt": "", "completion": "So."}, "<s>«So.</s>»"),
        ({"text": "Why? So."}, "<s>«Why? So.</s>»"),
        ({"text": "<s>Why? So.</s></s> \n"}, "<s>«Why? So.</s>»"),
    ],
)
def test_plain_text_begins_and_ends_with_one_mark(row: dict[str, str], expected: str) -> None:
    assert shown(row, tokenizer("mistral")) == [expected]


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        (Kind("", ("<s>", "</s>"), "</s>", "<s>", adds_bos=True), "<s>"),
        (Kind("", CHATML, "<|endoftext|>"), ""),
        (Kind("", CHATML, "<|endoftext|>", "<|im_start|>"), ""),
    ],
)
def test_a_base_model_gets_plain_text_with_the_begin_mark_it_was_trained_with(kind: Kind, start: str) -> None:
    coder = make(None, kind)
    assert ensure_template(coder)
    assert not ensure_template(coder)
    assert shown({"messages": ONE}, coder) == [f"{start}### User:\nWhy?\n\n### Assistant:\n«So.{kind.eos}»\n\n"]


def test_a_processor_is_asked_for_its_tokenizer() -> None:
    coder = make(None, Kind("", CHATML, "<|im_end|>"))
    processor = SimpleNamespace(tokenizer=coder, chat_template="{{ messages[0]['content'] }}")
    assert text_part(processor) is coder
    assert coder.chat_template == processor.chat_template
    assert text_part(coder) is coder


def test_an_answer_that_the_template_leaves_open_gets_an_end_mark() -> None:
    template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    coder = make(template, Kind("", ("</s>",), "</s>"))
    assert shown({"messages": ONE}, coder) == ["user: Why?\nassistant: «So.</s>»\n"]


def test_an_answer_keeps_letters_of_several_tokens_whole() -> None:
    (text,) = shown({"messages": [ASK, {"role": "assistant", "content": "é🙂"}]}, tokenizer("mistral"))
    assert text.count("\ufffd") == 6
    assert text.endswith("« \ufffd\ufffd\ufffd\ufffd\ufffd\ufffd</s>»")


def test_tools_are_shown_to_the_model_and_calls_are_trained() -> None:
    tool = {"type": "function", "function": {"name": "clock", "description": "Tells the time.", "parameters": {}}}
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock", "arguments": {}}}]}
    chat = [ASK, call, {"role": "tool", "content": "noon"}, ANSWER]
    (text,) = shown({"messages": chat, "tools": [tool]}, tokenizer("qwen2.5"))
    assert "Tells the time." in text
    assert '«<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><|im_end|>»\n<|im_start|>user' in text
    assert text.endswith("«So.<|im_end|>»\n")


def test_a_call_whose_mark_no_program_stops_at_gets_an_end_mark() -> None:
    from tokenizers import AddedToken

    coder = make(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
        "{% if m['tool_calls'] %}{{ m['tool_calls'][0]['function']['name'] + '</tool_call>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
        Kind("", ("<|endoftext|>", "<|user|>", "<|assistant|>"), "<|endoftext|>"),
    )
    coder.add_tokens([AddedToken("</tool_call>", special=False)])
    assert shown({"messages": [ASK, CALL]}, coder) == ["<|user|>Why?<|assistant|>«clock</tool_call><|endoftext|>»"]


@pytest.mark.parametrize("field", ["reasoning_content", "thinking"])
def test_thoughts_beside_an_answer_are_learnt_where_the_template_shows_them(field: str) -> None:
    thoughtful = {**ANSWER, field: "Hm."}
    if field == "reasoning_content":
        assert shown({"messages": [ASK, thoughtful]}, tokenizer("qwen3")) == [
            f"{HEAD}«<think>\nHm.\n</think>\n\nSo.<|im_end|>»\n"
        ]
    (made,) = render([{"messages": [ASK, thoughtful]}], tokenizer("llama3"), "answers")
    assert made == RefusedRow("the model's chat template refuses it: it leaves out a part of an answer, such as 'Hm'")


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock", "arguments": {}}}]}
THOUGHT = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSo."}


@pytest.mark.parametrize(
    ("model", "messages", "why"),
    [
        ("llama3", [ASK, CALL], "leaves out a part of an answer, such as 'clock'"),
        ("llama3", [ASK, {**CALL, "content": "Wait."}], "leaves out a part of an answer, such as 'clock'"),
        ("phi3", [ASK, {"role": "tool", "content": "noon"}, ANSWER], "shows nothing of a message of the role tool"),
    ],
)
@pytest.mark.parametrize("loss_on", ["answers", "all"])
def test_a_chat_that_the_template_shows_in_part_is_left_out(
    model: str, messages: list[Any], why: str, loss_on: str
) -> None:
    (made,) = render([{"messages": messages}], tokenizer(model), loss_on)
    assert made == RefusedRow(f"the model's chat template refuses it: it {why}")


def test_words_before_a_call_may_go_where_the_template_writes_the_call_alone() -> None:
    said = "m['tool_calls'][0]['function']['name'] if m['tool_calls'] else m['content']"
    coder = make("{% for m in messages %}{{ '<|im_start|>' + (" + said + ") + '<|im_end|>' }}{% endfor %}",
                 Kind("", CHATML, "<|im_end|>"))  # fmt: skip
    (text,) = shown({"messages": [ASK, {**CALL, "content": "Wait."}]}, coder)
    assert text == "<|im_start|>Why?<|im_end|>«<|im_start|>clock<|im_end|>»"


def test_a_system_prompt_that_the_template_hides_becomes_a_part_of_the_question() -> None:
    hides = "{% for m in messages %}{% if m['role'] != 'system' %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}"
    coder = make(hides + "{% endif %}{% endfor %}", Kind("", CHATML, "<|im_end|>"))
    (text,) = shown({"messages": [SYSTEM, *ONE]}, coder)
    assert text == "<|im_start|>Be brief.\n\nWhy?<|im_end|>«<|im_start|>So.<|im_end|>»"


def test_a_chat_that_the_template_refuses_says_why() -> None:
    (made,) = render([{"messages": [ASK, ASK, ANSWER]}], tokenizer("mistral"), "answers")
    assert made == RefusedRow("the model's chat template refuses it: roles must alternate")


def test_tools_that_are_none_leave_the_row_out_instead_of_ending_the_job() -> None:
    (made,) = render([{"messages": [ASK, ANSWER], "tools": [1, 2]}], tokenizer("qwen2.5"), "answers")
    assert isinstance(made, RefusedRow)


def test_a_row_without_an_end_is_left_out_instead_of_filling_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitune.core.worker.rows.render.MAX_CHARS", 100)
    rows = [{"text": "a " * 51}, {"prompt": "a", "completion": "b " * 50}, {"text": "a " * 50}]
    long, longer, fine = render(rows, tokenizer("qwen2.5"), "answers")
    assert long == RefusedRow("it has 102 characters, and at most 100 make a row")
    assert isinstance(longer, RefusedRow)
    assert not isinstance(fine, RefusedRow)


def test_rows_keep_their_order_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fitune.core.worker.rows.render.BATCH_ROWS", 2)
    rows: list[dict[str, Any]] = [
        {"messages": TWO},
        {"text": "a"},
        {"messages": [ASK, ASK, ANSWER]},
        {"prompt": "b", "completion": "c"},
    ] * 3
    together = list(render(rows, tokenizer("mistral"), "answers"))
    assert together == [next(render([row], tokenizer("mistral"), "answers")) for row in rows]


def sample_of(chat: list[dict[str, Any]], coder: Any) -> TokenizedRow:
    """The only sample of a chat that is no refusal."""
    made = next(render([{"messages": chat}], coder, "answers"))
    assert not isinstance(made, RefusedRow)
    (sample,) = made
    return sample


def test_the_cut_counts_what_it_takes() -> None:
    coder = tokenizer("mistral")
    sample = sample_of(TWO, coder)
    (first, _), (second, _) = sample.spans
    for length, expected in {
        len(sample.ids): (1, 0, 0, 0),
        second + 1: (1, 1, 0, 0),
        second: (1, 1, 1, 0),
        first + 1: (1, 1, 1, 0),
        first: (0, 0, 0, 1),
    }.items():
        found = truncate([{"messages": TWO}], coder, length, "answers")
        assert (len(found.rows), found.cut, found.lost_answers, len(found.emptied)) == expected
        for row in found.rows:
            assert row == {"input_ids": sample.ids[:length], "labels": sample.labels[:length]}


def test_a_row_that_keeps_no_token_to_learn_is_left_out_wherever_the_cut_falls() -> None:
    coder = tokenizer("llama3")
    sample = sample_of(ONE, coder)
    for length in range(1, len(sample.ids) + 1):
        found = truncate([{"messages": ONE}], coder, length, "answers")
        learns = any(label != IGNORED for label in sample.labels[1:length])
        assert bool(found.rows) == learns
        assert bool(found.emptied) != learns


@pytest.mark.parametrize(
    ("model", "row", "length", "why", "cure"),
    [
        (
            "mistral",
            {"messages": ONE},
            8,
            "answer past model.max_seq_length = 8; they are 13 to 13 tokens long",
            "= 256",
        ),
        ("mute", {"messages": ONE}, 99, "chat template shows none of the answers in 1 rows", "Instruct version"),
        ("mistral", {"messages": [ASK, ASK, ANSWER]}, 99, "refuses it: roles must alternate", "Join messages"),
    ],
)
def test_when_no_label_is_left_the_reason_and_the_cure_are_told(
    model: str, row: dict[str, Any], length: int, why: str, cure: str
) -> None:
    mute = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    coder = make(mute, Kind("", CHATML, "<|im_end|>")) if model == "mute" else tokenizer(model)
    found = truncate([row], coder, length, "answers")
    assert not found.rows
    error = nothing_left_error(found, "a.jsonl")
    assert why in error.message
    assert cure in error.hint
    ((_, _, told),) = found.warnings()
    assert told.startswith("1 row was left out")


@pytest.mark.train
def test_an_end_mark_is_learnt_though_it_pads_too() -> None:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    coder = tokenizer("mistral")
    assert coder.pad_token_id == coder.eos_token_id
    rows = truncate([{"messages": ONE}, {"messages": TWO}], coder, 100, "answers").rows
    batch = DataCollatorForLanguageModeling(pad_token_id=coder.pad_token_id)(rows)
    for row, ids, labels in zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        size = len(row["input_ids"])
        assert labels[:size] == row["labels"]
        assert labels[size - 1] == coder.eos_token_id
        assert set(labels[size:]) <= {IGNORED}
        assert set(ids[size:]) <= {coder.pad_token_id}


THINKING = [ASK, THOUGHT]
LONG = [*TWO, {"role": "user", "content": " é\n\n"}, {"role": "assistant", "content": "It is Paris.\n\nReally."}]
AS_TRL = [("qwen3", THINKING)]
"""trl writes earlier answers of Qwen3 with their thinking, which no prompt shows, and trains on empty thoughts: only
chats of one answer with thoughts compare."""
AS_TRL += [(model, chat) for model in ("llama3", "qwen2.5", "gemma", "gemma3", "phi3", "phi3.5")
           for chat in (ONE, TWO, LONG)]  # fmt: skip
AS_TRL += [(model, [SYSTEM, *TWO]) for model in ("llama3", "qwen2.5", "phi3")]


@pytest.mark.train
@pytest.mark.parametrize(("model", "chat"), AS_TRL)
def test_labels_are_those_of_trl_but_for_line_ends_beside_an_answer(model: str, chat: list[dict[str, str]]) -> None:
    """trl also trains the line end behind an end mark, and for Qwen2.5 the one before the answer, both of which
    stand in the prompt when the model writes."""
    from trl.chat_template_utils import get_training_chat_template

    coder = tokenizer(model)
    theirs = coder.apply_chat_template(
        chat, chat_template=get_training_chat_template(coder), return_dict=True, return_assistant_tokens_mask=True
    )
    sample = sample_of(chat, coder)
    assert sample.ids == theirs["input_ids"]
    ours = [label != IGNORED for label in sample.labels]
    assert any(ours)
    for place, (mine, other) in enumerate(zip(ours, theirs["assistant_masks"], strict=True)):
        if mine != bool(other):
            assert coder.decode([sample.ids[place]]) == "\n"
            assert other
            assert ours[place - 1] or ours[place + 1]


@pytest.mark.parametrize("loss_on", ["answers", "all"])
def test_an_answer_that_is_marked_is_shown_and_not_learned(loss_on: str) -> None:
    rows = [
        {"messages": [ASK, {**ANSWER, "train": False}, MORE, AGAIN]},
        {"messages": [*ONE, MORE, {**AGAIN, "train": False}]},
    ]
    shown_rows = [shown(row, tokenizer("smollm2"), loss_on)[0] for row in rows]
    assert ["«So." in text for text in shown_rows] == [False, True]
    assert ["«Yes." in text for text in shown_rows] == [True, False]
    assert all("So.<|im_end|>" in text and "Yes.<|im_end|>" in text for text in shown_rows)


def test_tools_that_a_template_does_not_list_are_told() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock", "arguments": {}}}]}
    tools = [{"type": "function", "function": {"name": "clock"}}]
    said = "{{ m.role }}\n{{ m.content }}{{ m.tool_calls or '' }}"
    turns = "{% for m in messages %}<|im_start|>" + said + "<|im_end|>\n{% endfor %}"
    ends = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    hides, lists = (make(f"{start}{turns}{ends}", KINDS["smollm2"]) for start in ("", "{{ tools }}"))
    row = {"messages": [ASK, call], "tools": tools}
    assert [notes_of(row, coder) for coder in (hides, lists)] == [{"tools_hidden"}, set()]


def test_words_before_a_call_that_a_template_does_not_write_are_told() -> None:
    called = [{"function": {"name": "clock", "arguments": {}}}]
    turns = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.tool_calls or m.content }}<|im_end|>\n{% endfor %}"
    coder = make(turns + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", KINDS["smollm2"])
    rows = [{"messages": [ASK, {**ANSWER, "content": text, "tool_calls": called}]} for text in ("Let me see.", "")]
    assert [notes_of(row, coder) for row in rows] == [{"words_hidden"}, set()]


def notes_of(row: dict[str, Any], coder: Any) -> set[str]:
    (made,) = render([row], coder, "answers")
    assert not isinstance(made, RefusedRow)
    return {note for sample in made for note in sample.notes}
