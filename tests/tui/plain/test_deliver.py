"""The ways to use an adapter as plain prompts: the same table as the screen's, done by fitune's own commands."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from fitune.tui.deliver.options import OPTIONS
from fitune.tui.plain import deliver as plain_deliver
from fitune.tui.plain.deliver import deliver
from fitune.tui.plain.prompt import Prompter
from tests.fake_worker import make_run
from tests.tui.watch.test_progress import CHECKS, prove

Answer = Callable[..., tuple[list[list[str]], str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = make_run(tmp_path, told="ok")
    (path / "adapter").mkdir()
    (path / "adapter" / "adapter_model.safetensors").touch()
    return Run(path)


@pytest.fixture
def answer(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Answer:
    """Give these answers, a line each; the commands that were run, and what was said."""
    commands: list[list[str]] = []

    def parse(self: object, command: list[str]) -> list[str]:
        return command

    def give(*lines: str) -> tuple[list[list[str]], str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in (*lines, ""))))
        monkeypatch.setattr("argparse.ArgumentParser.parse_args", parse)
        monkeypatch.setattr(plain_deliver, "dispatch", commands.append)
        deliver(Prompter(), run)
        return commands, capsys.readouterr().err

    return give


def number(key: str) -> str:
    return str([str(way.key) for way in OPTIONS].index(key) + 1)


def test_enter_alone_leaves_and_the_table_is_the_screens(answer: Answer) -> None:
    commands, said = answer()
    assert commands == []
    for way in OPTIONS:
        assert f"{way.title:<10}{way.what}" in said


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        ([number("chat")], ["chat", "RUN", "--plain"]),
        ([number("merge"), "yes"], ["merge", "RUN"]),
        ([number("merge"), ""], None),
        ([number("gguf")], None),
        ([number("push"), "", "", "yes"], ["push", "RUN", "--repo", "run-a-model"]),
        ([number("push"), "me/it", "public"], ["push", "RUN", "--repo", "me/it", "--public"]),
        ([number("push"), "me/it", "everyone"], None),
        ([number("push"), "me/it", "", ""], None),
        ([number("handoff"), "6", ""], ["handoff", "RUN", "--to", "vllm", "--out", "RUN/handoff-vllm"]),
        ([number("handoff"), "6", "~/it"], ["handoff", "RUN", "--to", "vllm", "--out", str(Path.home() / "it")]),
        ([number("handoff"), "99"], None),
        ([number("zip")], ["handoff", "RUN", "--to", "zip"]),
        ([number("files")], None),
        (["b", "?", "nothing"], None),
    ],
)
def test_each_way_is_a_command_after_its_questions(
    answer: Answer, run: Run, lines: list[str], command: list[str] | None
) -> None:
    commands, _ = answer(*lines)
    assert commands == ([[word.replace("RUN", str(run.path)) for word in command]] if command else [])


def test_what_is_merged_can_be_exported_and_pushed_and_shows_its_proof(answer: Answer, run: Run) -> None:
    prove(run.merged / "proof.json", *CHECKS)
    commands, said = answer(
        number("merge"), "", number("gguf"), "q8_0 f16", number("push"), "2", "me/it", "", "yes"
    )  # fmt: skip
    assert "FAILED  chat template" in said
    assert "failed     Use the adapter as it is, or merge once more." in said
    assert commands == [
        ["export", str(run.path), "--gguf", "q8_0", "f16"],
        ["push", str(run.path), "--repo", "me/it", "--merged"],
    ]


def test_checkpoints_are_offered_with_their_size(answer: Answer, run: Run) -> None:
    folder = run.checkpoints / "checkpoint-6"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(bytes(3 << 20))
    commands, said = answer(number("push"), "2", "me/it", "", "yes")
    assert "checkpoints 3.0 MiB in 1 file" in said
    assert ". checkpoints 3.0 MiB in 1 file, of earlier steps" in said
    assert "Upload the checkpoints (3.0 MiB in 1 file) to me/it, private?" in said
    assert commands == [["push", str(run.path), "--repo", "me/it", "--checkpoints"]]


def test_the_commands_that_are_made_are_fitunes(run: Run) -> None:
    """Without a stand-in for the parser."""
    from fitune.tui.cli import parser

    assert parser().parse_args(["push", str(run.path), "--repo", "me/it", "--gguf"]).gguf
    assert parser().parse_args(["push", str(run.path), "--repo", "me/it", "--checkpoints"]).checkpoints
    assert parser().parse_args(["chat", str(run.path), "--plain"]).plain


def test_an_answer_like_an_option_is_refused_and_asked_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (number("push"), "--public", "private", "yes", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))
    deliver(Prompter(), run)
    said = capsys.readouterr().err
    assert "argument --repo: expected one argument" in said
    assert said.count("The adapter is ready. What now?") == 2


def test_it_needs_no_textual() -> None:
    code = "import sys, fitune.tui.plain.deliver; sys.exit('textual' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
