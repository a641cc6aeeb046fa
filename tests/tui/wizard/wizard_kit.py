"""A wizard that begins a run without starting a worker, and the steps that tests take with it."""

import asyncio
import re
import time
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

import fitune.tui.wizard  # noqa: F401 - so that no test waits for it
from fitune.core.data import dataset
from fitune.core.machine.host import Gpu
from fitune.core.recipe.fields import Recipe
from fitune.core.runs import EventLog, Finished, Started
from fitune.core.runs.run import Run
from fitune.core.tokens import cache
from fitune.core.tokens.lengths import STATS_FILE, Example, Token, to_json
from fitune.core.units import GIB
from fitune.tui.app import FituneApp
from fitune.tui.wizard.screens.step import StepScreen
from tests.core.tokens.token_rows import prepared

CARD = Gpu(0, "GPU-test", "NVIDIA L4", 12 * GIB, 12 * GIB - (GIB >> 1), GIB >> 1, compute_capability=(8, 9))
VERSIONS = {"unsloth": "2026.10.7", "torch": "2.11.0"}


def rendered(recipe: Recipe, folder: Path, **changes: Any) -> Run:
    """What the prepare job would leave, made at once: a token for each word, the last turn's are trained."""
    rows = [_words(row) for row in dataset.rows(recipe.data)]
    examples = tuple(_example(at, row, first) for at, (row, first) in enumerate(islice(rows, 12)))
    found = prepared([(len(row), [(first, len(row))]) for row, first in rows], **{"examples": examples, **changes})
    run = Run(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    EventLog(run.events, "prepare").write(Started())
    EventLog(run.events, "prepare").write(Finished(stopped=False))
    (run.path / STATS_FILE).write_bytes(orjson.dumps(to_json(found)))
    return run


def answer_folder(recipe: Recipe, home: Path) -> Path:
    """Where the prepare job would work, without a look at the Hub."""
    asked = [recipe.model.model_dump(include={"id", "revision"}), recipe.data.model_dump(mode="json")]
    return cache.folder({"asked": asked}, home)


def _words(row: dict[str, Any]) -> tuple[list[str], int]:
    """The words of a row, and where those of its last turn begin."""
    turns = row.get("messages") or [{"content": text} for text in row.values()]
    asked, answer = (" ".join(str(turn["content"]) for turn in part).split(" ") for part in (turns[:-1], turns[-1:]))
    return ["<|begin|>", *asked, *answer], 1 + len(asked)


def _example(at: int, row: list[str], first: int) -> Example:
    tokens = (Token(f"{word} ", place >= first, word == "<|begin|>") for place, word in enumerate(row))
    return Example(at, len(row), tuple(tokens))


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


async def settle(pilot: Pilot[int]) -> None:
    """Wait until threads have answered and the screen stands still: not one that only waits for the next to come."""
    await pilot.pause()
    while _is_leaving(pilot.app) or any(not each.is_finished for each in pilot.app.workers if each.node != pilot.app):
        await pilot.pause(0.01)
    await pilot.pause()


def _is_leaving(app: App[int]) -> bool:
    """True from a step's answer until the next step is there: its draft is kept in a thread meanwhile."""
    return app.return_value is None and getattr(app.screen, "answer", None) is not None


async def until(app: Wizard, text: str | re.Pattern[str]) -> None:
    """Wait until a text, or one of a pattern, is on the screen."""
    pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
    deadline = time.monotonic() + 60  # a shared machine may stall for seconds
    while not pattern.search(app.shown()):
        assert time.monotonic() < deadline, app.shown()
        await asyncio.sleep(0.02)


async def go_to(pilot: Pilot[int], step: str) -> None:
    """Press Enter until the step of that name is there."""
    await settle(pilot)
    for _ in range(8):
        if getattr(pilot.app.screen, "NAME", None) == step:
            return
        await pilot.press("enter")
        await settle(pilot)
    raise AssertionError(f"never came to {step}: {pilot.app.screen}")


def step_of(pilot: Pilot[int]) -> str:
    """The name of the step that is shown."""
    assert isinstance(pilot.app.screen, StepScreen), pilot.app.screen
    return pilot.app.screen.NAME


def said(pilot: Pilot[int], selector: str) -> str:
    """The text of a Static."""
    return str(pilot.app.screen.query_one(selector, Static).render())
