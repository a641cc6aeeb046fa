"""A machine with a 12 GB card, rows to train on, and a wizard that begins a run without starting a worker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from core import launch, machine, runs
from core.launch import Begun
from core.machine import Gpu, Machine
from core.recipe_fields import Recipe
from core.runs import Run
from tui import steps
from tui.app import FituneApp
from tui.draft import Draft
from tui.screens.step import StepScreen

GIB = 1 << 30
CARD = Gpu(0, "GPU-test", "NVIDIA L4", 12 * GIB, 12 * GIB - (GIB >> 1), GIB >> 1, compute_capability=(8, 9))
VERSIONS = {"unsloth": "2026.10.7", "torch": "2.11.0"}


class Wizard(FituneApp):
    """The app, but a run that was begun is noted instead of watched."""

    begun: Run | None = None

    def watch_run(self, run: Run) -> None:
        self.begun = run
        self.exit(0)

    @property
    def step(self) -> StepScreen:
        assert isinstance(self.screen, StepScreen), self.screen
        return self.screen

    def shown(self) -> str:
        """All text on the screen, line by line."""
        lines = self.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


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
    monkeypatch.setattr(machine, "detect", lambda runs_dir=None: found)
    return found


@pytest.fixture
def wizard(this_machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Wizard]:
    """A new wizard at each call."""

    def begin(recipe: Recipe, preset: str | None = None, share_gpu: bool = False) -> Begun:
        return Begun(runs.create(recipe, runs.home(), {"preset": preset}), "setsid", "", ())

    monkeypatch.setattr(launch, "begin", begin)
    return Wizard


@pytest.fixture
def at_step(wizard: Callable[..., Wizard], this_machine: Machine) -> Callable[..., Wizard]:
    """A new wizard that stands at a step already: `at_step("edit", edits={...})`."""

    def new(name: str, **known: Any) -> Wizard:
        app = wizard(draft=Draft(**{"preset": "8b-on-12gb", "machine": this_machine, **known}))
        app.first_step = steps.named(name)
        return app

    return new


async def settle(pilot: Pilot[int]) -> None:
    """Wait until threads have answered and the screen stands still."""
    await pilot.pause()
    while any(not worker.is_finished for worker in pilot.app.workers if worker.node is not pilot.app):
        await pilot.pause(0.01)
    await pilot.pause()


async def go_to(pilot: Pilot[int], step: str) -> None:
    """Press Enter until the step of that name is there."""
    await settle(pilot)
    for _ in range(8):
        if getattr(pilot.app.screen, "NAME", None) == step:
            return
        await pilot.press("enter")
        await settle(pilot)
    raise AssertionError(f"never came to {step}: {pilot.app.screen}")


def said(pilot: Pilot[int], selector: str) -> str:
    """The text of a Static."""
    return str(pilot.app.screen.query_one(selector, Static).render())
