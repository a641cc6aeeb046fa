"""Where a model's files come from."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.worker import models


def test_a_model_that_two_want_at_once_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.1)
        folder.mkdir()

    monkeypatch.setattr(models, "_make_bundled", make)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(models.bundled, [tmp_path / "models"] * 4))
    assert made == [tmp_path / "models" / "SmolLM2-135M-Instruct"]
    assert set(found) == set(made)
