"""The training stack is an extra: whoever needs it and lacks it reads the command that adds it."""

import importlib.util
import json
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitune.core.errors import UserError
from fitune.core.machine import doctor, packages
from fitune.core.machine.host import Machine

FOLDER = {"url": "file:///src/my%20fitune", "dir_info": {}}


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without uv and without the training stack."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages.NEEDED else find_spec(name))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def installed_from(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None) -> None:
    text = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (None, "install 'fitune[train]'"),
        (FOLDER, "install 'fitune[train] @ file:///src/my%20fitune'"),
        (FOLDER | {"dir_info": {"editable": True}}, "install --editable '/src/my fitune[train]'"),
        ({"url": "https://host/f.git", "vcs_info": {"vcs": "git"}}, "install 'fitune[train] @ git+https://host/f.git'"),
    ],
)
def test_the_command_names_where_fitune_came_from(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None, words: str
) -> None:
    installed_from(monkeypatch, origin)
    assert packages.add_training_stack().endswith(words)


@pytest.mark.parametrize(
    ("note", "command"),
    [
        ("uv-receipt.toml", "uv tool install 'fitune[train]'"),
        ("pipx_metadata.json", "pipx install --force 'fitune[train]'"),
    ],
)
def test_the_tool_that_made_the_installation_is_the_one_to_add_to_it(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, note: str, command: str
) -> None:
    installed_from(monkeypatch, None)
    (prefix / note).touch()
    assert packages.add_training_stack() == command


def test_a_missing_stack_is_said_with_the_command_that_adds_it(prefix: Path) -> None:
    with pytest.raises(UserError, match="torch, transformers, trl, peft, datasets missing") as refused:
        packages.require_training_stack()
    assert packages.add_training_stack() in refused.value.hint


def test_doctor_says_it_too_and_that_planning_works(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_hub", list)
    checks = {check.name: check for check in doctor.run_checks(Machine(versions={"torch": None}))}
    assert checks["training"].status == "fail"
    assert packages.add_training_stack() in checks["training"].fix
    assert "versions" not in checks


def test_nothing_is_said_where_the_stack_is_installed() -> None:
    packages.require_training_stack()


def test_pins_are_read_from_requirements_with_and_without_an_extra() -> None:
    found = packages.pins(["trl==1.15.0; extra == 'train'", "unsloth_zoo==2026.10.7", "psutil>=7"])
    assert found == {"trl": "1.15.0", "unsloth-zoo": "2026.10.7"}
