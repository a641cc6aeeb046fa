"""A home of its own for each test, and the recipe that most of them start from."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitune.core.recipe.load import Recipe, parse

# A shell starts what it runs in the background with Ctrl+C ignored, and nohup with a hang-up; what the tests start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def fitune_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $FITUNE_HOME."""
    place = tmp_path / "fitune-home"
    monkeypatch.setenv("FITUNE_HOME", str(place))
    return place


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """Makes a small valid recipe; `group={"key": value}` changes it."""

    def make(**groups: dict[str, Any]) -> Recipe:
        tree: dict[str, dict[str, Any]] = {"model": {"id": "owner/model"}, "data": {"source": "owner/rows"}}
        for group, fields in groups.items():
            tree.setdefault(group, {}).update(fields)
        return parse(tree, "recipe")

    return make
