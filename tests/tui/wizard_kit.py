"""A wizard that begins a run without starting a worker, and the steps that tests take with it."""

from textual.pilot import Pilot
from textual.widgets import Static

import tui.wizard  # noqa: F401 - so that no test waits for it
from core.machine import Gpu
from core.runs import Run
from tui.app import FituneApp
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
