"""One recipe on one machine gets one verdict, the same numbers and one exit status, whichever front end is asked."""

import json
import random
import tomllib
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from fitune.core import jobs
from fitune.core.errors import UserError
from fitune.core.forecast import Forecast
from fitune.core.jobs import training
from fitune.core.machine import host
from fitune.core.machine.host import Gpu, Machine
from fitune.core.memory.config_json import shipped_configs
from fitune.core.recipe import presets
from fitune.core.recipe.fields import Recipe
from fitune.core.recipe.load import to_toml
from fitune.core.units import GIB
from fitune.tui.commands.planning import estimate, fit
from fitune.tui.commands.planning import presets as presets_command
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.forecast_text import forecast_draft
from fitune.tui.wizard.options import preset_choices
from tests.core.forecast.plans.test_any_recipe import any_recipe

PAIRS = 200
MODELS = sorted(name for name, config in shipped_configs().items() if "quantization_config" not in config)
CARDS = ("NVIDIA L4", "NVIDIA GeForce RTX 3060", "NVIDIA H100 80GB HBM3", "Some Card", "Tesla T4")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a front end says of a recipe."""

    verdict: str
    total_bytes: int
    low_bytes: int
    high_bytes: int
    host_bytes: int
    shortages: tuple[str, ...]


def any_machine(dice: random.Random) -> Machine:
    """A machine with one card, or none; with much host RAM and disk, or little."""
    size_gib = dice.choice([6, 8, 12, 16, 24, 48, 80])
    free_bytes = round(size_gib * GIB * dice.choice([0.95, 0.8, 0.4]))
    card = Gpu(0, "GPU-1", dice.choice(CARDS), size_gib * GIB, free_bytes, 0, compute_capability=(8, 9))
    return Machine(
        gpus=(card,) if dice.random() < 0.8 else (),
        gpu_state="ok",
        ram_total_bytes=128 * GIB,
        ram_available_bytes=round(dice.choice([2.5, 4, 8, 16, 100]) * GIB),
        disk_free_bytes=dice.choice([1, 20, 1000]) * GIB,
        versions={"unsloth": "2026.10.7"},
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, fitune_home: Path, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    monkeypatch.setattr(training, "start", lambda *_, **__: "setsid")
    return monkeypatch


def answer_of(document: dict[str, Any]) -> Answer:
    return Answer(document["verdict"], document["total_bytes"], document["low_bytes"], document["high_bytes"],
                  document["host_bytes"], tuple(document["shortages"]))  # fmt: skip


def forecast_answer(found: Forecast) -> Answer:
    budget = found.budget
    return Answer(found.verdict, budget.total_bytes, budget.low_bytes, budget.high_bytes, budget.host_bytes,
                  tuple(each.sentence for each in found.shortages))  # fmt: skip


def asked(command: Any, file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = command.run(Namespace(recipe=file, set=[], calibrate=False, gpu_memory=None, json=True))
    return status, json.loads(capsys.readouterr().out)


def begun(recipe: Recipe) -> tuple[str, Answer]:
    """What `train` would do, and what run.json keeps."""
    try:
        jobs.begin(recipe)
        done = "starts"
    except UserError as refused:
        done = "refuses" if "with --yes" in str(refused) else f"bad: {refused}"
    kept = jobs.begin(recipe, anyway=True).run.info().budget
    assert kept
    return done, answer_of(asdict(kept))


def test_every_front_end_says_the_same(
    here: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dice, verdicts = random.Random(12), []
    for _ in range(PAIRS):
        machine = any_machine(dice)
        here.setattr(host, "detect", lambda runs_dir=None, machine=machine: machine)
        recipe = any_recipe(dice, "unsloth" if machine.gpus and dice.random() < 0.7 else "trl")
        recipe = recipe.model_copy(update={
            "model": recipe.model.model_copy(update={"id": dice.choice(MODELS)}),
            "data": recipe.data.model_copy(update={"source": str(tmp_path / "rows.jsonl")}),
        })  # fmt: skip
        file = tmp_path / "recipe.toml"
        file.write_text(to_toml(recipe))
        try:
            status, document = asked(estimate, file, capsys)
        except UserError:
            continue  # a model, or modules of it, that can't be trained as the dice have it
        expected = answer_of(document)
        fit_status, found = asked(fit, file, capsys)
        assert answer_of(found["recipe"]) == expected
        forecast = forecast_draft(Draft(answers=tomllib.loads(file.read_text()), machine=machine))
        assert forecast.known is not None
        assert forecast_answer(forecast.known) == expected
        done, kept = begun(recipe)
        assert kept == expected
        assert (status, done) == ((3, "refuses") if expected.verdict == "over" else (0, "starts"))
        assert fit_status == 0 or expected.verdict == "over", "a recipe that may fit is a plan that may"
        verdicts.append(expected.verdict)
    assert set(verdicts) == {"fits", "tight", "over"}
    assert len(verdicts) > PAIRS * 3 / 4


@pytest.mark.parametrize("seed", range(12))
def test_presets_stand_in_one_order_with_one_verdict_each(
    here: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    machine = any_machine(random.Random(seed))
    here.setattr(host, "detect", lambda runs_dir=None: machine)
    assert presets_command.run(Namespace(gpu_memory=None, json=True)) == 0
    listed = [(each["id"], each["verdict"], each["total_bytes"]) for each in json.loads(capsys.readouterr().out)]
    offered = [
        (choice.preset.id, choice.forecast.verdict, choice.forecast.budget.total_bytes if choice.forecast.budget else 0)
        for choice in preset_choices(Draft(machine=machine))
    ]
    assert listed == offered
    assert len(listed) == len(presets.load_all())


def test_too_little_host_ram_is_told_by_all_of_them(
    here: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """32B on 12 GB, with 5 GiB of RAM free: it keeps 40 layers there."""
    card = Gpu(0, "GPU-1", "NVIDIA GeForce RTX 3060", 12 * GIB, round(11.9 * GIB), 0, compute_capability=(8, 6))
    machine = Machine(gpus=(card,), gpu_state="ok", ram_available_bytes=5 * GIB, versions={"unsloth": "2026.10.7"})
    here.setattr(host, "detect", lambda runs_dir=None: machine)
    preset = presets.find("32b-on-12gb")
    recipe = preset.recipe(str(tmp_path / "rows.jsonl"))
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe))
    status, document = asked(estimate, file, capsys)
    assert (status, document["verdict"]) == (3, "over")
    assert "For its host RAM" in document["shortages"][0]
    assert asked(fit, file, capsys)[0] == 3
    assert forecast_draft(Draft(preset="32b-on-12gb", machine=machine)).verdict == "over"
    assert begun(recipe)[0] == "refuses"
