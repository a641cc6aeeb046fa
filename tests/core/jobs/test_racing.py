"""The race of learning rates: what stands in its way is told before anything is loaded."""

import json
from pathlib import Path

import pytest

from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.core.jobs import racing
from fitune.core.recipe import Recipe
from fitune.core.recipe.load import parse


def asked(rows: int, tmp_path: Path) -> Recipe:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"{n}!"}) + "\n" for n in range(rows)))
    return parse({"model": {"id": "any/model"}, "data": {"source": str(path)}}, "recipe")


def test_too_few_rows_to_hold_out_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "require_training_stack", lambda: None)
    monkeypatch.setattr(racing, "resolve", lambda *_: pytest.fail("it went on"))
    with pytest.raises(UserError, match="of these rows none are held out"):
        jobs.tune_lr(asked(6, tmp_path), 10)
    with pytest.raises(pytest.fail.Exception, match="it went on"):
        jobs.tune_lr(asked(40, tmp_path), 10)
