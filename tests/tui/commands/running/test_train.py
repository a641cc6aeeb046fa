"""`fitune train --from RUN`: a training that begins with the model that a run made."""

from pathlib import Path

import pytest

from fitune.core import runs
from fitune.core.runs import Run
from tests.fake_worker import make_run
from tests.tui.conftest import Fitune


@pytest.mark.usefixtures("fakes")
def test_the_merged_model_of_a_run_is_the_base_of_the_next(fitune: Fitune, fitune_home: Path, tmp_path: Path) -> None:
    made = Run(make_run(fitune_home, "tickets", "ok"))
    made.adapter.mkdir()
    rows, recipe = tmp_path / "rows.jsonl", tmp_path / "recipe.toml"
    rows.write_text('{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n' * 20)
    recipe.write_text(f'[data]\nsource = "{rows}"\n[train]\nobjective = "dpo"\n')
    status, _, err = fitune("train", str(recipe), "--from", "tickets")
    assert (status, "First: fitune merge tickets" in err) == (2, True)
    assert "No run matches ''" in fitune("train", str(recipe), "--from", "")[2], "an empty variable is no run"
    assert [run.name for run in runs.all_runs(fitune_home)] == ["tickets"]

    made.merged.mkdir()
    (made.merged / "config.json").write_text('{"model_type": "llama"}')
    status, _, err = fitune("train", str(recipe), "--from", "tickets", "--yes")
    assert status == 0, err
    begun = next(run for run in runs.all_runs(fitune_home) if run.name != "tickets")
    assert begun.recipe().model.id == str(made.merged)
    assert "-tickets-" in begun.name
