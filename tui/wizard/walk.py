"""The wizard's walk: step after step, back and forth, until a run is there to be watched."""

import asyncio
from typing import Any

from textual.app import App

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.machine import host
from fitune.core.runs import Run
from fitune.tui.watch.actions import show_error
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, discard, save
from fitune.tui.wizard.screens.data import DataScreen
from fitune.tui.wizard.screens.edit import EditScreen
from fitune.tui.wizard.screens.preset import PresetScreen
from fitune.tui.wizard.screens.review import ReviewScreen
from fitune.tui.wizard.screens.start import StartScreen
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.steps import Answer, Watch

SCREENS: dict[steps.Name, type[StepScreen]] = {
    "start": StartScreen,
    "preset": PresetScreen,
    "edit": EditScreen,
    "data": DataScreen,
    "review": ReviewScreen,
}


async def walk(app: App[Any], draft: Draft | None, step: steps.Step | None) -> Run:
    """Show the screens from a step on (the first if none is given); the draft is kept on disk after each.

    Each screen takes the place of the one before, so that nothing else is seen in between; the last one stays.
    """
    draft, step = draft or Draft(), step or steps.STEPS[0]
    screen = SCREENS[step.name](draft)
    await (app.push_screen if len(app.screen_stack) == 1 else app.switch_screen)(screen)
    while not isinstance(answer := await answer_of(screen), Watch):
        draft, step = steps.leads_to(step, answer)
        try:
            await asyncio.to_thread(save, draft, step.name, runs.home())
        except UserError as error:
            show_error(app, str(error))
        screen = SCREENS[step.name](draft)
        await app.switch_screen(screen)
    if step is not steps.STEPS[0]:  # who only looks at a run there has his answers still before him
        await asyncio.to_thread(discard, runs.home())
    return answer.run


async def walk_on(app: App[Any], trained: Run) -> Run:
    """The walk from the settings on, for a training on better and worse answers that begins with what a run made."""
    base = trained.recipe().model
    model = {"id": str(jobs.merged_model(trained)), "quant": base.quant, "max_seq_length": base.max_seq_length}
    machine = await asyncio.to_thread(host.detect, runs.home() / "runs")
    draft = Draft(answers={"model": model, "train": {"objective": "dpo"}}, machine=machine)
    return await walk(app, draft, steps.named("edit"))


async def answer_of(screen: StepScreen) -> Answer:
    """Wait for the answer of a step."""
    while screen.answer is None:
        await screen.answered.wait()
    return screen.answer
