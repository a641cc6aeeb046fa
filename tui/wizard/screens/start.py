"""The first step: what this machine has, and what to do: watch a run, go on with one, or start a new one."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import work
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList, Static

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.machine import Machine, host
from fitune.core.runs import Run
from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, restore
from fitune.tui.wizard.options import StartChoice, machine_lines, start_choices
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.steps import Forward, Reopen, Watch


class StartScreen(StepScreen):
    """Looks around in a thread, and says so meanwhile."""

    NAME: ClassVar[steps.Name] = "start"
    AUTO_FOCUS = "#choices"

    @dataclass
    class Looked(Message):
        """The machine and what can be done on it were found."""

        machine: Machine
        choices: tuple[StartChoice, ...]

    @dataclass
    class Resumed(Message):
        """A run goes on, or the reason why it can't."""

        run: Run
        problem: str = ""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.choices: tuple[StartChoice, ...] = ()
        self.began_s = time.monotonic()
        self.resuming = False

    def body(self) -> Iterable[Widget]:
        yield Static("Looking at this machine ...", id="found", markup=False)
        yield ChoiceList(id="choices")
        yield Static(id="error", markup=False)

    def on_mount(self) -> None:
        self.ticking = self.set_interval(1.0, self.tick)
        self.look_around()

    def tick(self) -> None:
        self.query_one("#found", Static).update(f"Looking at this machine ... {time.monotonic() - self.began_s:.0f} s")

    @work(thread=True, exclusive=True, group="look")
    def look_around(self) -> None:
        base, begun = runs.home(), bool(self.draft.preset or self.draft.edits)
        self.post_message(self.Looked(host.detect(base / "runs"), start_choices(base, begun)))

    def on_start_screen_looked(self, event: Looked) -> None:
        self.ticking.stop()
        self.draft, self.choices = replace(self.draft, machine=event.machine), event.choices
        self.query_one("#found", Static).update(safe("\n".join(machine_lines(event.machine)), keep_newlines=True))
        options = self.query_one(ChoiceList)
        options.set_options(safe(choice.text) for choice in self.choices)
        options.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if self.resuming:  # a second Enter
            return
        choice = self.choices[event.option_index]
        kept = restore(runs.home()) if choice.kind == "draft" else None
        if choice.kind == "resume" and choice.run is not None:
            self.query_one("#error", Static).update(safe(f"Starting {choice.run.name} again ..."))
            self.resuming = True
            self.resume(choice.run)
        elif choice.run is not None:
            self.leave_with(Watch(choice.run))
        elif kept is not None:
            self.leave_with(Reopen(replace(kept[0], machine=self.draft.machine), kept[1]))
        else:
            self.leave_with(Forward(self.draft))

    @work(thread=True, exclusive=True, group="resume")
    def resume(self, run: Run) -> None:
        try:
            jobs.start(run, "train")
        except UserError as error:
            self.post_message(self.Resumed(run, str(error)))
        else:
            self.post_message(self.Resumed(run))

    def on_start_screen_resumed(self, event: Resumed) -> None:
        self.resuming = False
        if event.problem:
            self.query_one("#error", Static).update(safe(f"ERROR {event.problem}"))
        else:
            self.pop_until_active()  # help may lie over it
            self.leave_with(Watch(event.run))
