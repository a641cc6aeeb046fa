"""The side of a talk with a model that has no model: what is asked, who is refused, and that nothing outlives it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.jobs import chat
from fitune.core.jobs.chat import Chat, Conversation, Settings
from fitune.core.jobs.messages.chat import SIDES, Answered, Done, Message, Question, Ready, Text
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.recipe.load import Recipe
from fitune.core.runs import Failed
from fitune.core.runs.run import Run
from fitune.core.runs.store import create
from fitune.core.units import GIB
from tests import fake_chat

SYSTEM = {"role": "system", "content": "Be brief."}
READY = [Question(**each) for each in fake_chat.QUESTIONS]


def turns(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]


@pytest.fixture
def trained(tmp_path: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with an adapter, on a machine with 8 GiB of RAM and no card."""
    found = Machine(gpu_state="none", ram_available_bytes=8 * GIB)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)
    run = create(recipe(model={"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "quant": "bf16"}), tmp_path)
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").touch()
    return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts tests/fake_chat.py in a mode in the place of the real process."""

    def put(mode: str) -> None:
        command = [sys.executable, fake_chat.__file__]
        monkeypatch.setattr(chat, "_command", lambda run: [*command, str(run.path), "--mode", mode])

    put("chat")
    return put


def hear(started: Chat, upto: type[Message]) -> list[Message]:
    """What is said until a message of that type."""
    found = []
    for said in started.heard():
        found.append(said)
        if isinstance(said, upto):
            break
    return found


def test_both_sides_are_asked_the_same_and_answer(trained: Run, fake: Any) -> None:
    with chat.start(trained) as started:
        hear(started, Ready)
        started.ask(Conversation().ask("Why?"), Settings(max_tokens=7, temperature=0.5))
        answers = [said for said in hear(started, Done) if isinstance(said, Answered)]
    assert [(said.side, said.text) for said in answers] == [
        ("base", "base heard: Why?"),
        ("tuned", "tuned heard: Why?"),
    ]
    (asked,) = map(json.loads, (trained.path / "asked.jsonl").read_text().splitlines())
    assert asked == {
        "asked": {side: turns("Why?") for side in SIDES},
        "tools": None, "max_tokens": 7, "temperature": 0.5, "images": {},
    }  # fmt: skip


def test_an_answer_can_be_stopped(trained: Run, fake: Any) -> None:
    with chat.start(trained) as started:
        hear(started, Ready)
        started.ask(Conversation().ask("slow"), Settings())
        hear(started, Text)
        started.stop()
        (answer,) = [said for said in hear(started, Done) if isinstance(said, Answered)]
    assert answer.ended == "asked"


def test_each_side_keeps_its_own_answers() -> None:
    talk = Conversation()
    talk.ask("One?")
    talk.answered("base", "b")
    talk.answered("tuned", "t")
    assert talk.ask("Two?").sides == {"base": turns("One?", "b", "Two?"), "tuned": turns("One?", "t", "Two?")}
    talk.restart()
    assert talk.ask("Three?").sides["base"] == turns("Three?")


def test_a_question_that_was_refused_counts_as_never_asked() -> None:
    talk = Conversation()
    talk.ask("refuse")
    assert talk.ask("Two?").sides["base"] == turns("Two?")


def test_the_system_prompt_that_all_rows_share_comes_first() -> None:
    assert Conversation(READY).ask("Why?").sides["tuned"] == [SYSTEM, *turns("Why?")]
    mixed = [*READY, Question(turns("Hello?"), None, "Hello?", "")]
    assert Conversation(mixed).ask("Why?").sides["tuned"] == turns("Why?")


def test_a_question_of_the_data_begins_anew_as_its_row_does() -> None:
    talk = Conversation([Question([SYSTEM, *turns("a", "b", "Why?")], [{"name": "f"}], "Why?", "")])
    talk.ask("Before?")
    talk.answered("base", "x")
    wanted = talk.ask("Why?")
    assert wanted.sides["base"] == [SYSTEM, *turns("a", "b", "Why?")]
    assert wanted.tools == [{"name": "f"}]


def test_a_model_trained_without_turns_is_asked_the_bare_text_each_time() -> None:
    talk = Conversation([Question(**fake_chat.RAW[0])])
    talk.ask("One")
    talk.answered("base", "b")
    assert talk.ask("Two \udcff").sides == {"base": "Two ?", "tuned": "Two ?"}


def test_a_folder_that_cant_be_written_to_is_a_sentence(trained: Run) -> None:
    (trained.path / "chat.log").mkdir()
    with pytest.raises(UserError, match="can't be written to: Is a directory"):
        chat.start(trained)


def test_without_the_training_stack_nobody_can_be_asked(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"The training stack is not installed .*\[train\]"):
        chat.start(trained)


def test_no_adapter_is_a_sentence(trained: Run) -> None:
    (trained.adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no adapter yet\. Train it first: fitune resume"):
        chat.start(trained)


def test_short_memory_is_a_sentence_with_both_numbers(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "detect", lambda: Machine(gpu_state="none", ram_available_bytes=GIB // 2))
    with pytest.raises(UserError, match=r"needs about 1\.\d GiB, and this machine has 0\.5 GiB free"):
        chat.start(trained)


def test_a_run_that_trains_is_left_alone_unless_that_is_wanted(
    trained: Run, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "trains", lambda run: True)
    with pytest.raises(UserError, match=r"is training .* --share-gpu"):
        chat.start(trained)
    chat.start(trained, share_gpu=True).close()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("failed", "The card is full."),
        ("dies", "ended by SIGKILL: most often because the RAM ran"),
        ("leaves", "ended with status 3."),
    ],
)
def test_a_process_that_ends_says_why(trained: Run, fake: Any, mode: str, words: str) -> None:
    fake(mode)
    with chat.start(trained) as started:
        *_, last = started.heard()
    assert isinstance(last, Failed)
    assert words in last.message


def test_asking_a_dead_process_is_no_traceback(trained: Run, fake: Any) -> None:
    with chat.start(trained) as started:
        hear(started, Ready)
        started.close()
        started.ask(Conversation().ask("Why?"), Settings())
        started.stop()


def test_its_log_is_for_the_owner_alone(trained: Run, fake: Any) -> None:
    chat.start(trained).close()
    assert (trained.path / "chat.log").stat().st_mode & 0o777 == 0o600


def test_a_token_stands_in_no_argument(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    assert not [each for each in chat._command(trained) if "hf_" in each]


def test_the_process_ends_with_whoever_talks_however_that_ends(trained: Run) -> None:
    """kill -9 of the parent while the child loads, which takes the real one the longest."""
    script = f"""
import time
from pathlib import Path
from fitune.core.jobs import chat
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.runs import Run
host.detect = lambda runs_dir=None: Machine(gpu_state="none")
started = chat.start(Run(Path({str(trained.path)!r})))
print(started._worker.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1.0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, os.popen(f"ps -o args= -p {child}").read()
        time.sleep(0.1)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "a sign.png"
    Image.new("RGB", (40, 30)).save(path)
    return path


def test_an_image_before_a_question_is_shown_with_it(picture: Path) -> None:
    talk = Conversation()
    asked = talk.ask(f'@"{picture}" @"{picture}" What does it say?')
    assert asked.sides["base"] == turns("<image><image>What does it say?")
    assert asked.images == dict.fromkeys(SIDES, (str(picture),) * 2)
    talk.answered("tuned", "No swimming.")
    again = talk.ask("And below?")
    assert again.images == {"tuned": (str(picture),) * 2}  # the base was stopped
    assert again.sides["base"] == turns("And below?")
    talk.restart()
    assert talk.ask("Hello?").images == {}


def test_an_image_that_is_not_there_is_told_at_once_and_an_address_is_text() -> None:
    talk = Conversation()
    with pytest.raises(UserError, match=r"none\.png is not there"):
        talk.ask("@none.png What is it?")
    assert talk.ask("@ada is who?").sides["base"] == turns("@ada is who?")


def test_a_question_of_the_data_brings_its_images() -> None:
    ready = Question(turns("<image>What is it?"), None, "<image>What is it?", "A sign.", ("sign.png",))
    assert Conversation([ready]).ask("<image>What is it?").images == dict.fromkeys(SIDES, ("sign.png",))
