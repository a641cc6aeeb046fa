"""`fitune handoff` and `fitune runs compare` from outside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fitune.core.runs.run import Run
from tests import fake_worker
from tests.tui.conftest import Fitune

RECIPE = {"version": 1, "model": {"id": "HuggingFaceTB/SmolLM2-135M-Instruct"}, "data": {"source": "other.jsonl"},
          "lora": {"r": 64}}  # fmt: skip


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    """A recipe of a known model on 30 rows."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "{n}?", "answer": "{n}"}}\n' for n in range(30)))
    path = tmp_path / "recipe.toml"
    path.write_text(f'[model]\nid = "HuggingFaceTB/SmolLM2-135M-Instruct"\n[data]\nsource = "{rows}"\n')
    return str(path)


def test_the_text_goes_to_stdout_and_what_else_is_needed_to_stderr(fitune: Fitune, recipe_file: str) -> None:
    status, out, err = fitune("handoff", recipe_file, "--to", "slurm", "--set", "train.seed=5")
    assert status == 0
    assert out.startswith("#!/bin/bash\n")
    assert err == (
        "train.lr = 0.00066: for a hidden size of 576, 8 rows a step, alpha 16.\n"
        "It is job.sbatch, and also needs recipe.toml, run.py, render.py, targets.py, model_class.py, "
        "varlen_attention.py, train.jsonl, eval.jsonl, rows.jsonl. "
        f"All of them: fitune handoff {recipe_file} --to slurm --out FOLDER\n"
    )


def test_a_preset_is_handed_off_by_its_id(fitune: Fitune, recipe_file: str) -> None:
    rows = Path(recipe_file).with_name("rows.jsonl")
    status, out, _ = fitune("handoff", "8b-on-12gb", "--to", "axolotl", "--set", f"data.source={rows}")
    assert status == 0
    assert "base_model: Qwen/Qwen3-8B\n" in out


def test_out_writes_a_folder_and_nothing_to_stdout(fitune: Fitune, recipe_file: str, tmp_path: Path) -> None:
    status, out, err = fitune(
        "handoff", recipe_file, "--to", "script", "--set", "train.lr=1e-4", "--out", str(tmp_path / "out")
    )
    assert (status, out) == (0, "")
    assert err == (
        "Wrote eval.jsonl, model_class.py, render.py, run.py, targets.py, train.jsonl, varlen_attention.py "
        f"into {tmp_path}/out. "
        "The instructions are at the top of run.py.\n"
    )


def test_a_zip_prints_the_command_that_fetches_it(
    fitune: Fitune, fitune_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(fake_worker.make_run(fitune_home, told="ok"))
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text("{}")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.9 51000 10.0.0.5 22")
    status, out, err = fitune("handoff", "run-a", "--to", "zip")
    assert status == 0
    assert out.startswith("scp ")
    assert out.endswith(f"@10.0.0.5:{run.path}/run-a-adapter.zip .\n")
    assert "Type on your own computer" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.toml", "--to", "script"], "none.toml can't be read"),
        (["none", "--to", "script"], "There are no runs"),
        (["RECIPE", "--to", "vllm"], "vllm takes a run"),
        (["RECIPE", "RECIPE", "--to", "slurm"], "slurm takes one run or recipe"),
        (["RECIPE", "--to", "zip"], "zip takes a run"),
        (["RECIPE", "--to", "script", "--set", "lora.rank=8"], "is not a key"),
        (["RECIPE", "--to", "axolotl", "--set", "data.source=/nowhere.jsonl"], "/nowhere.jsonl"),
    ],
)
def test_what_can_not_be_handed_off_is_a_sentence(
    fitune: Fitune, recipe_file: str, arguments: list[str], said: str
) -> None:
    status, out, err = fitune("handoff", *[recipe_file if each == "RECIPE" else each for each in arguments])
    assert (status, out) == (2, "")
    assert said in err


def test_a_run_takes_no_set(fitune: Fitune, fitune_home: Path) -> None:
    fake_worker.make_run(fitune_home, told="ok")
    status, _, err = fitune("handoff", "run-a", "--to", "script", "--set", "lora.r=8")
    assert status == 2
    assert "--set changes recipes" in err


# --- compare -------------------------------------------------------------------------------------------------------


def test_two_runs_stand_side_by_side(fitune: Fitune, fitune_home: Path) -> None:
    fake_worker.make_run(fitune_home, "run-a", told="ok")
    fake_worker.make_run(fitune_home, "run-b", told="killed", recipe=RECIPE)
    status, out, err = fitune("runs", "compare", "run-a", "run-b")
    assert (status, err) == (0, "")
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert out.splitlines()[0].split() == ["run-a", "run-b"]
    assert rows["lora.r"][1:] == ["16", "64"]
    assert rows["data.source"][1:] == ["rows.jsonl", "other.jsonl"]
    assert rows["status"][1:] == ["finished", "killed"]
    assert rows["training loss, last tenth"][-2] == "1.594"
    assert "model.id" not in rows


def test_compared_runs_as_json_are_one_document(fitune: Fitune, fitune_home: Path) -> None:
    fake_worker.make_run(fitune_home, "run-a", told="ok")
    fake_worker.make_run(fitune_home, "run-b")
    status, out, _ = fitune("runs", "compare", "run-a", "run-b", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["runs"] == ["run-a", "run-b"]
    assert found["settings"] == {}
    assert found["results"]["eval_loss"] == [1.1535542011260986, None]
    assert found["results"]["seen_tokens"] == [2470, None]


def test_equal_settings_are_said_to_be_equal(fitune: Fitune, fitune_home: Path) -> None:
    for name in ("run-a", "run-b"):
        fake_worker.make_run(fitune_home, name, told="ok")
    assert "\nsettings                   the same\n" in fitune("runs", "compare", "run-a", "run-b")[1]


def test_a_hostile_setting_reaches_the_terminal_cleaned(fitune: Fitune, fitune_home: Path) -> None:
    fake_worker.make_run(fitune_home, "run-a", told="ok")
    hostile = {**RECIPE, "data": {"source": "a\x1b]0;owned\x07"}}
    fake_worker.make_run(fitune_home, "run-b", told="ok", recipe=hostile)
    out = fitune("runs", "compare", "run-a", "run-b")[1]
    assert "\x1b" not in out
    assert "␛]0;owned␇" in out


def test_neither_command_imports_the_screen(fitune_home: Path) -> None:
    heavy = "{'textual', 'torch', 'yaml'} & set(sys.modules)"
    code = f"import sys, fitune.tui.commands.delivery.handoff, fitune.tui.commands.running.compare; print({heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
