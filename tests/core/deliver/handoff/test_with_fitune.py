"""Hand-offs that train with fitune where it is: their recipe and rows, and the shell lines that start it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from fitune.core.data import dataset, eval_fraction
from fitune.core.data.split import split
from fitune.core.deliver import handoff
from fitune.core.deliver.handoff import cluster
from fitune.core.deliver.handoff.spec import TrainingSpec, from_recipe
from fitune.core.machine import packages, shareable_requirement
from fitune.core.recipe import Recipe, parse
from fitune.core.recipe.load import load

Make = Callable[..., TrainingSpec]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a spec from two files of rows of different kinds, with relative paths."""
    monkeypatch.chdir(tmp_path)
    questions = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(60)]
    chats = [
        {"messages": [{"role": "user", "content": f"Say {n}"}, {"role": "assistant", "content": str(n)}]}
        for n in range(20)
    ]
    for name, rows in (("questions", questions), ("chats", chats), ("general", questions[:9])):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("model").mkdir()

    def made(**groups: dict[str, Any]) -> TrainingSpec:
        sources = [{"source": "questions.jsonl", "weight": 2}, {"source": "chats.jsonl"}]
        tree: dict[str, Any] = {"model": {"id": "./model"}, "data": {"sources": sources}, "train": {"lr": 1e-4}}
        for group, fields in groups.items():
            tree.setdefault(group, {}).update(fields)
        return from_recipe(parse(tree, "recipe"), Path("my job.toml"))

    return made


@pytest.mark.parametrize("target", ["slurm", "skypilot"])
def test_the_recipe_in_the_folder_has_the_same_rows_and_holds_out_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    general = {"replay": 0.1, "replay_source": "general.jsonl"}
    spec = make(data=general, run={"gpus": [0, 3], "gpu": None, "home": "/elsewhere"})
    (rows, others), kept = all_rows(spec.recipe), held_out(spec.recipe)
    names = handoff.write(target, [spec], Path("out"))
    assert {"recipe.toml", "rows.jsonl", "general.jsonl"} <= set(names)
    monkeypatch.chdir("out")
    own = load(Path("recipe.toml"))
    assert all_rows(own) == (rows, others)
    assert held_out(own) == kept != []
    assert (own.run.name, own.run.home, own.run.gpus) == ("my-job", None, 2)
    assert own.model.id == (str(Path.cwd().parent / "model") if target == "slurm" else "./model")
    assert own.train == spec.recipe.train


def all_rows(recipe: Recipe) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows = list(dataset.rows(recipe.data))
    return rows, list(dataset.general_rows(recipe.data, len(rows)))


def held_out(recipe: Recipe) -> list[int]:
    rows = list(dataset.rows(recipe.data))
    return list(split(rows, eval_fraction(recipe, len(rows)), recipe.train.seed)[1])


@pytest.mark.parametrize("there", [False, True])
def test_slurm_starts_fitune_or_goes_on_with_its_run(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    script = handoff.files_for("slurm", [make()])["job.sbatch"]
    if there:
        (tmp_path / "runs" / "mine").mkdir(parents=True)
        (tmp_path / "runs" / "mine" / "run.json").touch()
    called = run_script(script, tmp_path, monkeypatch, fitune=True)
    asked = "resume mine" if there else "train recipe.toml --set run.name=mine"
    assert called == f"fitune {asked} home={tmp_path} systemd=\n"


def test_slurm_without_fitune_runs_the_script_and_says_so(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = handoff.files_for("slurm", [make(run={"gpus": 1})])["job.sbatch"]
    assert run_script(script, tmp_path, monkeypatch, fitune=False).startswith("uv run run.py")
    assert "fitune is not installed here: run.py trains the same without it" in capfd.readouterr().err


def run_script(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch, fitune: bool) -> str:
    """What a job's script calls on a node, with and without fitune."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("nvidia-smi", "uv", *(["fitune"] if fitune else [])):
        said = "" if name == "nvidia-smi" else f'echo "{name} $* home=$FITUNE_HOME systemd=$XDG_RUNTIME_DIR" > called\n'
        (tools / name).write_text(f"#!/bin/sh\n{said}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(folder))
    monkeypatch.setenv("SLURM_JOB_NAME", "mine")
    subprocess.run(["bash", "-c", script], check=True)
    return (folder / "called").read_text()


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ({"url": "file:///home/me/fitune", "dir_info": {"editable": True}}, None),
        ({"url": "https://me:secret@example.org/fitune.whl"}, None),
        ({"url": "https://example.org/fitune.whl"}, "fitune[train] @ https://example.org/fitune.whl"),
        (
            {"url": "https://example.org/fitune", "vcs_info": {"vcs": "git", "commit_id": "1a2b"}},
            "fitune[train] @ git+https://example.org/fitune@1a2b",
        ),
    ],
)
def test_a_cloud_machine_installs_fitune_where_it_can_be_had(
    make: Make, monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any], requirement: str | None
) -> None:
    monkeypatch.setattr(packages, "_origin", lambda: origin)
    assert shareable_requirement() == requirement
    text = handoff.files_for("skypilot", [make()])["task.yaml"]
    installs = f"pip install uv\nuv tool install '{requirement}'\n" if requirement else "pip install uv\n"
    assert yaml.safe_load(text)["setup"] == installs
    assert ("add it to setup" in text) == (requirement is None)
    assert "me:secret" not in text


def test_a_name_is_one_that_a_run_may_have(make: Make) -> None:
    recipe = make().recipe
    for name in ("x" * 300, "-- a/b$(touch x)", "é"):
        spec = TrainingSpec(name, recipe)
        assert parse({"model": {"id": "a"}, "data": {"source": "b"}, "run": {"name": cluster.run_name(spec)}}, "")
