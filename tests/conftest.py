"""One environment for all tests, a home of its own for each, and the recipe that most of them start from."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

# The caller's settings change what fitune and its libraries do, some of them at import: so before the first import.
_CALLERS = (
    "CLICOLOR", "COLORTERM", "COLUMNS", "COMET_", "CUDA_", "FITUNE_", "FORCE_COLOR", "HF_", "HUGGING", "LINES",
    "MLFLOW_", "NO_COLOR", "SSH_", "STY", "TEXTUAL", "TMUX", "TRACKIO_", "TRANSFORMERS_", "UNSLOTH_", "WANDB_",
)  # fmt: skip
for _name in [name for name in os.environ if name.startswith(_CALLERS)]:
    del os.environ[_name]
_HUB_FOLDER = TemporaryDirectory(prefix="fitune-tests-hf-")  # without the caller's token and models
os.environ.update(
    HF_HOME=_HUB_FOLDER.name,
    OMP_NUM_THREADS="1",  # torch's threads wait for each other by spinning: one is six times less work
    TERM="xterm-256color",
)

import orjson  # noqa: E402

from fitune.core.memory.shapes import known  # noqa: E402
from fitune.core.recipe.load import Recipe, parse  # noqa: E402

# The shapes of the tests' own configs: to find one takes a process with torch.
known.shipped().update(orjson.loads((Path(__file__).parent / "core" / "memory" / "shapes.json").read_bytes()))

# A shell starts what it runs in the background with Ctrl+C ignored, and nohup with a hang-up; what the tests start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems() -> None:
    """Nothing imports torch before a test needs it, which takes half a minute."""
    assert "torch" not in sys.modules, "a module of tests imports torch where it is collected: in each process"


def pytest_unconfigure() -> None:
    _HUB_FOLDER.cleanup()


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
