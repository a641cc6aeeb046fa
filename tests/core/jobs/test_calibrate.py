"""A calibration is a real training on made-up rows that leaves a measurement and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fitune.core import runs
from fitune.core.errors import UserError
from fitune.core.forecast import history
from fitune.core.jobs import calibrate
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.recipe.load import Recipe, parse
from fitune.core.runs import spawn
from tests.core.forecast.measurements import measurement
from tests.fake_worker import stand_in

MODEL = {"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "max_seq_length": 64}


@pytest.fixture
def worker(fitune_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the fake worker tell a story instead of training."""

    def tells(story: str) -> None:
        monkeypatch.setattr(spawn, "_command", stand_in(story, "--rate", "100"))

    monkeypatch.setattr(spawn, "_lingering_user_manager", lambda: False)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine(gpu_state="none"))
    return tells


def wanted(recipe: Callable[..., Recipe]) -> Recipe:
    return recipe(model=MODEL, train={"micro_batch": 3, "grad_accum": 8, "report_to": "wandb"}, run={"name": "mine"})


def test_the_probe_is_the_recipe_but_short_and_silent(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    own = wanted(recipe)
    probe = calibrate.probe_of(own, tmp_path / "rows.jsonl")
    assert parse(probe.model_dump(mode="json"), "probe") == probe, "it is a valid recipe"
    assert (probe.model, probe.lora) == (own.model, own.lora)
    assert (probe.train.micro_batch, probe.train.grad_accum, probe.train.max_steps) == (3, 2, 3)
    assert (probe.train.report_to, probe.data.eval_fraction, probe.deliver.push_repo) == ("none", 0, None)
    assert probe.run.name != "mine"


def test_its_rows_are_as_many_and_as_long_as_the_steps_take(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    calibrate.write_rows(path, calibrate.probe_of(wanted(recipe), path))
    rows = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    assert len(rows) == 3 * 2 * 3 == len(set(rows))
    assert all(len(row.split()) > 64 for row in rows)


def test_it_tells_its_phases_and_leaves_no_run(
    worker: Callable[..., None], fitune_home: Path, recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker("steps:3")
    monkeypatch.setattr("secrets.token_hex", lambda count: "f17")
    fitune_home.mkdir()
    history.append(fitune_home, measurement(run="calibration-f17"))
    phases: list[str] = []
    assert calibrate.calibrate(wanted(recipe), phases.append)
    assert phases == ["load", "train"]
    assert runs.all_runs(fitune_home) == []


def test_it_says_when_nothing_was_learned(
    worker: Callable[..., None], fitune_home: Path, recipe: Callable[..., Recipe]
) -> None:
    worker("steps:3")
    assert not calibrate.calibrate(wanted(recipe), lambda phase: None)


@pytest.mark.parametrize(
    ("story", "said"), [("oom", "failed: OutOfMemoryError: .* What does: fitune fit"), ("killed", "was killed")]
)
def test_a_probe_that_fails_is_a_sentence_and_leaves_no_run(
    worker: Callable[..., None], fitune_home: Path, recipe: Callable[..., Recipe], story: str, said: str
) -> None:
    worker(story)
    with pytest.raises(UserError, match=said) as raised:
        calibrate.calibrate(wanted(recipe), lambda phase: None)
    assert raised.value.exit_code == 1
    assert runs.all_runs(fitune_home) == []


def test_an_interrupted_probe_is_ended(
    worker: Callable[..., None], fitune_home: Path, recipe: Callable[..., Recipe]
) -> None:
    worker("steps:3000")

    def interrupt(phase: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate.calibrate(wanted(recipe), interrupt)
    assert runs.all_runs(fitune_home) == []
