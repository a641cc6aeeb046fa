"""The process with the model in it: base and fine-tuned from one model in memory, and what it says of their answers."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.jobs import chat
from fitune.core.jobs.chat import Conversation, Settings
from fitune.core.jobs.messages.chat import SIDES, Answered, Done, Message, Ready, Request, Side, Text, of_line
from fitune.core.runs import Failed, Warned
from fitune.core.runs.run import Run
from tests.core.worker.conftest import train_here

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("unasked")]


class Heard:
    """A talker in this process, and what it says."""

    def __init__(self, run: Run) -> None:
        from fitune.core.worker.chat import Pipe, load

        self._read, write = os.pipe()
        self.halted = threading.Event()
        self.talker = load(run, Pipe(write), self.halted)
        self.said = self.messages()

    def messages(self) -> list[Message]:
        return [of_line(line) for line in os.read(self._read, 1 << 16).splitlines()]

    def ask(self, asked: Any, max_tokens: int = 20, temperature: float = 0.0) -> list[Message]:
        self.talker.reply(Request(dict.fromkeys(SIDES, asked), None, max_tokens, temperature))
        return self.messages()


@pytest.fixture
def trained(make_run: Callable[..., Run]) -> Run:
    run = make_run(train={"max_steps": 4})
    train_here(run)
    return run


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answers(messages: list[Message]) -> dict[Side, Answered]:
    return {said.side: said for said in messages if isinstance(said, Answered)}


def test_the_sides_are_the_base_and_the_base_with_its_adapter(trained: Run, tiny_model: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    heard = Heard(trained)
    said = heard.ask(user("What is 1 plus 2?"))
    tokenizer = AutoTokenizer.from_pretrained(trained.adapter)
    ids = tokenizer.apply_chat_template(
        user("What is 1 plus 2?"), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for side in SIDES:
        model = base if side == "base" else PeftModel.from_pretrained(base, trained.adapter)
        out = model.generate(**ids, max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert answers(said)[side].text == tokenizer.decode(out, skip_special_tokens=True).strip()
    assert answers(said)["base"].text != answers(said)["tuned"].text
    assert said[-1] == Done()


def test_what_streams_is_what_was_answered(trained: Run) -> None:
    said = Heard(trained).ask(user("What is 1 plus 2?"))
    for side in SIDES:
        pieces = [each.text for each in said if isinstance(each, Text) and each.side == side]
        assert "".join(pieces).strip() == answers(said)[side].text


def test_words_are_told_as_they_come(tokenizer: Any) -> None:
    import torch

    from fitune.core.worker.chat import _streamer

    told: list[str] = []
    streamer = _streamer(tokenizer, told.append)
    streamer.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for token in tokenizer("one two\nthrée<|im_end|>", add_special_tokens=False)["input_ids"]:
        streamer.put(torch.tensor([token]))
    assert told == ["one ", "two\n"]
    streamer.end()
    assert told == ["one ", "two\n", "thrée"]


def test_an_answer_without_an_end_mark_is_cut_and_said_to_be(trained: Run) -> None:
    heard = Heard(trained)
    (cut,) = {each.ended for each in answers(heard.ask(user("Why?"), max_tokens=3)).values()}
    assert cut == "length"


def test_a_mark_that_ends_an_answer_ends_it(trained: Run) -> None:
    heard = Heard(trained)
    first = heard.talker.tuned.tokenizer("e", add_special_tokens=False)["input_ids"]
    object.__setattr__(heard.talker.tuned, "stops", list(range(len(heard.talker.tuned.tokenizer))))
    found = answers(heard.ask(user("Why?")))["tuned"]
    assert (found.ended, found.tokens) == ("itself", len(first))


def test_a_stop_ends_the_answer_and_the_other_side_is_not_asked(trained: Run) -> None:
    heard = Heard(trained)
    heard.halted.set()
    said = heard.ask(user("Why?"))
    assert answers(said)["tuned"].ended == "asked"
    assert "base" not in answers(said)
    assert said[-1] == Done()


def test_at_a_temperature_answers_differ(trained: Run) -> None:
    heard = Heard(trained)
    found = {answers(heard.ask(user("Why?"), temperature=2.0))["base"].text for _ in range(3)}
    assert len(found) > 1


def test_a_conversation_longer_than_the_model_takes_is_refused(trained: Run) -> None:
    from fitune.core.errors import UserError

    with pytest.raises(UserError, match=r"more than the 512 which the model takes\. Start anew"):
        Heard(trained).ask(user("x" * 600))


def test_questions_are_rows_that_were_held_out(trained: Run) -> None:
    ready = Heard(trained).said[-1]
    assert isinstance(ready, Ready)
    assert ready.device == "cpu"
    sampled = {sample.prompt for sample in trained.state().samples}
    assert sampled <= {each.shown for each in ready.questions}
    assert all(each.reference.startswith("It is ") for each in ready.questions)


def test_data_that_is_gone_is_a_warning(trained: Run) -> None:
    Path(trained.recipe().data.source).unlink()
    said = Heard(trained).said
    assert [each.type for each in said] == ["phase", "warning", "phase", "ready"]
    assert isinstance(said[1], Warned)
    assert "There are no questions from your data" in said[1].message


@pytest.mark.parametrize("lora", [{"init": "olora"}, {"bias": "all"}], ids=str)
def test_without_its_adapter_the_model_is_the_base_again(
    make_run: Callable[..., Run], biased_model: Path, lora: dict[str, str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    run = make_run(model={"id": str(biased_model)}, train={"max_steps": 2}, lora=lora)
    train_here(run)
    tuned_model, ids = Heard(run).talker.tuned, torch.arange(3, 20)[None]
    with torch.no_grad():
        tuned = tuned_model.model(ids).logits
        with tuned_model.as_base():
            found = tuned_model.model(ids).logits
        again = tuned_model.model(ids).logits
        expected = AutoModelForCausalLM.from_pretrained(biased_model, dtype=torch.float32)(ids).logits
    torch.testing.assert_close(found, expected)
    assert torch.equal(again, tuned)
    assert (tuned - expected).abs().max() > 1e-3


def test_the_real_process_answers_and_goes(trained: Run) -> None:
    with chat.start(trained) as started:
        for said in started.heard():
            assert not isinstance(said, Failed), said
            if isinstance(said, Ready):
                started.ask(Conversation().ask("What is 1 plus 2?"), Settings(max_tokens=5))
            if isinstance(said, Done):
                break
        pid = started._worker.pid
    assert not Path(f"/proc/{pid}").exists()
    events = trained.events.read_bytes()
    assert b'"chat"' not in events, "a talk is no part of the run's story"
