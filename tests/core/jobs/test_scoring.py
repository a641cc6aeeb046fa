"""The rows to score are looked at before a job starts."""

import json
from pathlib import Path

import pytest

from fitune.core import jobs, runs
from fitune.core.data import dataset
from fitune.core.errors import UserError
from fitune.core.recipe.load import parse
from fitune.core.runs import spawn
from fitune.core.runs.run import Run

CLEAR = "".join(f'{{"question": "How old is pier {n}?", "answer": "{n} years, they say."}}\n' for n in range(40))
SWAPPED = "".join(f'{{"left": "How old is pier {n}, do they say?", "right": "{n} years."}}\n' for n in range(40))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on two sources, with an adapter; jobs are not started."""
    monkeypatch.setattr(spawn, "spawn", lambda run, job: job)
    sources = [{"source": str(tmp_path / name)} for name in ("one.jsonl", "two.jsonl")]
    made = runs.create(parse({"model": {"id": "a/b"}, "data": {"sources": sources}}, "test"), tmp_path)
    made.adapter.mkdir()
    (made.adapter / "adapter_model.safetensors").touch()
    return made


@pytest.mark.parametrize("name", ["clear.jsonl", "an-owner/a-set"])
def test_rows_that_are_clear_or_on_the_hub_are_scored(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "clear.jsonl").write_text(CLEAR)
    asked = str(tmp_path / name) if name.endswith("jsonl") else name
    assert jobs.score(run, asked, 9) == "score"
    assert json.loads((run.path / "score.json").read_text()) == {"data": asked, "rows": 9}


def test_any_number_of_rows_but_none_may_be_asked_for(run: Run) -> None:
    assert jobs.score(run, rows=10**30) == "score"
    assert json.loads((run.path / "score.json").read_text())["rows"] > 10**12
    with pytest.raises(UserError, match="at least one row"):
        jobs.score(run, rows=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no file or folder"),
        (SWAPPED, "It is not clear what is asked and what is answered in"),
        ("", "holds no rows"),
        ('{"question": "a?", "chosen": "b c d", "rejected": "e f g"}\n' * 40, "preference pairs"),
    ],
)
def test_other_rows_are_refused_before_the_job_starts(run: Run, tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said):
        jobs.score(run, str(path))
    assert not (run.path / "score.json").exists()


def test_rows_of_another_place_stand_alone(run: Run, tmp_path: Path) -> None:
    """Not beside the sources that were trained on, which would be scored in their place."""
    (tmp_path / "clear.jsonl").write_text(CLEAR)
    taken = list(dataset.rows(run.recipe().rows.in_place(str(tmp_path / "clear.jsonl"))))
    assert len(taken) == 40
