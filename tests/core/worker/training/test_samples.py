"""The held-out questions that a run answers before, during and after its training, which must not notice."""

from collections.abc import Callable
from typing import Any

import pytest

from fitune.core.runs import Sample, Warned
from fitune.core.runs.run import Run
from fitune.core.worker.answers import prompt_ids, question
from tests.core.worker.chat_models import tokenizer as template_of
from tests.core.worker.conftest import losses, train_here
from tests.events import data_of


def told(run: Run) -> list[Sample]:
    return data_of(run.events, Sample)


@pytest.mark.train
def test_held_out_questions_are_answered_before_at_evaluations_and_at_the_end(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training import samples

    monkeypatch.setattr(samples, "TIME_SHARE", 100.0)
    run = make_run()
    train_here(run)
    found = told(run)
    assert sorted({sample.step for sample in found}) == [0, 3, 6, 8]
    first, last = found[0], found[-1]
    assert first.prompt.startswith("What is ")
    assert (first.reference or "").startswith("It is ")
    assert first.after is None
    newest = next(sample for sample in found if sample.step == 8 and sample.prompt == first.prompt)
    assert newest.before == first.before
    assert newest.after != newest.before
    assert last.tokens is not None
    assert last.tokens <= samples.ANSWER_TOKENS


@pytest.mark.train
def test_samples_change_no_loss(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, whose dice a sample would otherwise throw too."""
    from fitune.core.worker.training import samples

    asked, silent = make_run(run={"name": "asked"}), make_run(run={"name": "silent"})
    with monkeypatch.context() as patched:
        patched.setattr(samples, "TIME_SHARE", 100.0)
        train_here(asked)
    monkeypatch.setattr(samples, "QUESTIONS", 0)
    train_here(silent)
    assert told(asked)
    assert not told(silent)
    assert losses(asked) == losses(silent)


@pytest.mark.train
def test_a_run_too_short_for_samples_asks_one_question_at_its_start_and_end(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training import samples

    monkeypatch.setattr(samples, "LEAST_S", 0.01)  # less than any answer takes
    monkeypatch.setattr(samples, "TIME_SHARE", 0.0)
    run = make_run()
    train_here(run)
    assert [sample.step for sample in told(run)] == [0, 8]
    assert all(sample.stops is None and (sample.tokens or 0) < samples.ANSWER_TOKENS for sample in told(run))


@pytest.mark.train
def test_a_failing_sample_is_a_warning_and_the_training_goes_on(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fitune.core.worker.training import samples

    def broken(*_: Any) -> None:
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(samples, "answer", broken)
    run = make_run()
    train_here(run)
    (warning,) = [each for each in data_of(run.events, Warned) if each.kind == "sample"]
    assert "no kernel for this" in warning.message
    assert max(losses(run)) == 8
    assert run.current()[0] == "finished"


@pytest.mark.train
def test_a_resumed_run_remembers_what_the_model_said_untrained(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.worker.training.test_train import stop_at

    run = make_run()
    stop_at(run, 4)
    train_here(run)
    train_here(run)
    found = told(run)
    assert (found[0].step, found[-1].step) == (0, 8)
    assert {sample.before for sample in found if sample.prompt == found[0].prompt} == {found[0].before}


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
    {"role": "user", "content": "And then?"},
    {"role": "assistant", "content": "That is all."},
]


@pytest.mark.parametrize(
    ("row", "asked", "shown", "reference"),
    [
        ({"messages": CHAT}, CHAT[:2], "Why?", "So."),
        ({"prompt": "1 + 1 =", "completion": " 2"}, "1 + 1 =", "1 + 1 =", " 2"),
        ({"text": "a b c d e f g h"}, "a b", "a b", "c d e f g h"),
    ],
)
def test_a_row_is_asked_up_to_its_first_answer(row: dict[str, Any], asked: Any, shown: str, reference: str) -> None:
    found = question(row)
    assert found is not None
    assert (found.asked, found.shown, found.reference) == (asked, shown, reference)


@pytest.mark.parametrize("turns", [CHAT[:2], CHAT[2:3], []])
def test_a_chat_without_a_question_and_an_answer_is_not_asked(turns: list[dict[str, Any]]) -> None:
    assert question({"messages": turns}) is None


def test_a_question_is_put_as_the_rows_of_the_training_are(tokenizer: Any) -> None:
    ids = prompt_ids(CHAT[:2], None, tokenizer)
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(prompt_ids("1 + 1 =", None, tokenizer)) == "1 + 1 ="


def test_a_template_without_a_system_prompt_gets_it_with_the_question() -> None:
    coder = template_of("gemma")
    assert "Be brief.\n\nWhy?" in coder.decode(prompt_ids(CHAT[:2], None, coder))


def test_questions_are_few_different_and_short(tokenizer: Any) -> None:
    from fitune.core.worker.training.samples import QUESTIONS, questions

    long = {"messages": [{"role": "user", "content": "x" * 2000}, {"role": "assistant", "content": "y"}]}
    rows = [{"prompt": f"{number // 2}?", "completion": "!"} for number in range(20)]
    found = questions([long, *rows], tokenizer)
    assert [each.question.shown for each in found] == [f"{number}?" for number in range(QUESTIONS)]
