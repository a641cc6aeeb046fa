"""A machine with a 12 GB card, rows to train on, and wizards that stand where a test wants them."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fitune.core import jobs, runs
from fitune.core.deliver import Download
from fitune.core.jobs import Begun
from fitune.core.machine import host
from fitune.core.machine.host import Machine
from fitune.core.recipe.fields import Recipe
from fitune.core.runs import RunInfo, spawn
from fitune.core.tokens.lengths import TokenStats
from fitune.core.units import GIB
from fitune.tui.__main__ import main
from fitune.tui.watch import follow, screen
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.models import weights
from tests.fake_worker import make_run, stand_in, start
from tests.tui.wizard.wizard_kit import CARD, VERSIONS, Wizard, answer_folder, rendered

Fitune = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are read more often than a person needs, so that no test waits for the next reading."""
    monkeypatch.setattr(screen, "READ_EVERY_S", 0.1)
    monkeypatch.setattr(screen, "DRAW_EVERY_S", 0.2)
    monkeypatch.setattr(screen, "CARD_EVERY_S", 0.5)
    monkeypatch.setattr(follow, "POLL_S", 0.05)


@pytest.fixture(autouse=True)
def hub_has_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of a screen asks the network how large a model is."""
    monkeypatch.setattr(weights, "download", lambda model, revision: Download(model, 16 * GIB))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FITUNE_HOME, and a folder with rows to stand in."""
    place = tmp_path / "home"
    monkeypatch.setenv("FITUNE_HOME", str(place))
    work = tmp_path / "work"
    work.mkdir()
    rows = [{"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}."} for n in range(40)]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(work)
    return place


@pytest.fixture
def this_machine(monkeypatch: pytest.MonkeyPatch, home: Path) -> Machine:
    """What `detect` finds."""
    found = Machine(
        gpus=(CARD,),
        gpu_state="ok",
        ram_total_bytes=64 * GIB,
        ram_available_bytes=60 * GIB,
        cpu_cores=8,
        runs_dir=str(home / "runs"),
        disk_free_bytes=500 * GIB,
        versions=dict(VERSIONS),
    )
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: found)
    return found


@pytest.fixture
def rendered_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prepare job has always been done already."""
    monkeypatch.setattr(jobs, "prepare", lambda recipe: rendered(recipe, answer_folder(recipe, home)))


@pytest.fixture
def wizard(
    this_machine: Machine, home: Path, rendered_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Wizard]:
    """A new wizard at each call."""

    def begin(recipe: Recipe, preset: str | None = None, rows: TokenStats | None = None) -> Begun:
        return Begun(runs.create(recipe, runs.home(), RunInfo(preset=preset)), "setsid", "", ())

    monkeypatch.setattr(jobs, "begin", begin)
    return Wizard


@pytest.fixture
def at_step(wizard: Callable[..., Wizard], this_machine: Machine) -> Callable[..., Wizard]:
    """A new wizard that stands at a step already: `at_step("edit", edits={...})`."""

    def new(name: str, **known: Any) -> Wizard:
        app = wizard(draft=Draft(**{"preset": "8b-on-12gb", "machine": this_machine, **known}))
        app.first_step = steps.named(name)
        return app

    return new


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run that trains, 20 steps a second, until its test ends."""
    run = make_run(tmp_path)
    worker = start(run, "steps:3000", "--rate", "20")
    yield run
    worker.kill()
    worker.wait()


@pytest.fixture
def fitune(fitune_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Fitune]:
    """Runs a command line; (exit status, stdout, stderr). Workers that are left are killed at the end."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fitune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    yield call
    for run in runs.all_runs(fitune_home):
        run.kill()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a card, and the fake worker in place of the real one."""
    monkeypatch.setattr(spawn, "_command", stand_in("steps:30", "--rate", "100"))
    monkeypatch.setattr(spawn, "_lingering_user_manager", lambda: False)
    monkeypatch.setattr("fitune.core.jobs.training.foresee", lambda *_: None)
    monkeypatch.setattr(host, "detect", lambda runs_dir=None: Machine(gpu_state="none"))
