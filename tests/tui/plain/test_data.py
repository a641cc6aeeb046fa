"""The data step as prompts: the same facts as on the screen, asked for by a letter; Ctrl+C skips the counting."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core import jobs
from fitune.core.machine.host import Machine
from fitune.core.recipe.fields import Recipe
from fitune.core.runs.run import Run
from fitune.tui.plain.data import ask_data
from fitune.tui.plain.prompt import Prompter
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, prepared
from fitune.tui.wizard.steps import Forward

Told = Callable[..., tuple[Draft, str]]


@pytest.fixture
def told(this_machine: Machine, rendered_at_once: None, monkeypatch: pytest.MonkeyPatch,
         capsys: pytest.CaptureFixture[str]) -> Told:  # fmt: skip
    """Answer the step with these lines; the draft it ends with, and what it said."""

    def run(*answers: str, **edits: str) -> tuple[Draft, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in ("rows.jsonl", *answers))))
        fields = {name.replace("_", ".", 1): text for name, text in edits.items()}
        answer = ask_data(Prompter(), Draft(preset="8b-on-12gb", machine=this_machine, edits=fields))
        assert isinstance(answer, Forward)
        return answer.draft, capsys.readouterr().err

    return run


def test_problems_then_counts_then_rows_and_lengths_and_tokens_by_a_letter(told: Told) -> None:
    draft, text = told("l", "t", "t", "x", "")
    places = [
        "OK Nothing is wrong", "40 rows of", "The first rows:", "user: What is 0", "95% of the rows have at most",
        "cut at 2,048 tokens", "Row 1 of 40", "«It is 0.", "Row 2 of 40", "ERROR Type one of the letters",
    ]  # fmt: skip
    at = [text.index(each) for each in places]
    assert at == sorted(at)
    assert prepared(draft) is not None
    assert steps.after(steps.named("data"), draft).name == "review"


def test_c_cuts_later(told: Told) -> None:
    rows = [{"question": "Why? " * 39, "answer": "Because. " * n} for n in range(1, 41)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    draft, text = told("c", "", model_max_seq_length="48")
    assert draft.edits["model.max_seq_length"] == "128"
    assert text.index("rows are cut at 48") < text.index("c to cut at 128 tokens instead") < text.index("none is cut")
    assert "OK It fits" in text


def test_ctrl_c_skips_the_counting_and_stops_the_job(told: Told, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    stopped: list[Run] = []

    class Interrupted(Run):
        def holder_pid(self) -> int | None:
            raise KeyboardInterrupt

        def request_stop(self) -> None:
            stopped.append(self)

    def prepare(recipe: Recipe) -> Run:
        return Interrupted(home)

    monkeypatch.setattr(jobs, "prepare", prepare)
    draft, text = told("")
    assert "Skipped: rows count as full length." in text
    assert "user: What is 0" in text
    assert prepared(draft) is None
    assert len(stopped) == 1


def test_an_example_file_is_written_beside_those_that_are_there(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("example-question-answer.jsonl").write_text("mine")
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n1\n\n\n"))  # behind two files
    answer = ask_data(Prompter(), Draft(preset="8b-on-12gb"))
    assert isinstance(answer, Forward)
    assert answer.draft.edits["data.source"] == "example-question-answer-2.jsonl"
    assert Path("example-question-answer.jsonl").read_text() == "mine"


def test_images_for_a_model_that_reads_text_only_end_the_step(told: Told, this_machine: Machine) -> None:
    from PIL import Image

    from fitune.core.errors import UserError

    Image.new("RGB", (40, 30), "red").save("a.png")
    rows = [{"question": f"And {n}?", "answer": f"Red {n}.", "image": "a.png"} for n in range(40)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="can't be trained on as they are"):
        told()
