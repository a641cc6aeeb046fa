"""Home, the first step: this machine, all runs with what can be done with them, and the way to a new one."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList, Static

from fitune.core import jobs, runs
from fitune.core.errors import UserError
from fitune.core.machine import Machine, host
from fitune.core.runs import Run
from fitune.tui.home import actions
from fitune.tui.home.loss_peek import LossPeek
from fitune.tui.home.queue_rows import QueueChoice, queue_choices
from fitune.tui.home.run_list import Entry, FilterInput, RunList
from fitune.tui.home.run_rows import RunReader, RunRow, about
from fitune.tui.text import safe
from fitune.tui.watch.actions import add_note
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, restore
from fitune.tui.wizard.options import FIRST_TIME, StartChoice, machine_lines, new_choices
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.steps import Forward, Reopen, Watch

READ_EVERY_S = 2.0
RESUMABLE = ("stopped", "failed", "killed")


class StartScreen(StepScreen):
    """Looks around in a thread, and says so meanwhile; then reads the runs again as long as it is shown."""

    NAME: ClassVar[steps.Name] = "start"
    AUTO_FOCUS = "#choices"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("r", "resume", "Resume"),
        Binding("c", "chat", "Chat"),
        Binding("u", "use", "Use it"),
        Binding("v", "compare", "Compare"),
        Binding("n", "note", "Note"),
        Binding("q", "queue", "Queue", show=False),
        Binding("f2", "rename", "Rename", show=False),
        Binding("x,delete", "delete", "Delete", key_display="x"),
    ]

    @dataclass
    class Looked(Message):
        """The machine and what can be done on it were found."""

        machine: Machine
        choices: tuple[StartChoice, ...]
        queued: tuple[QueueChoice, ...]
        rows: tuple[RunRow, ...]

    @dataclass
    class RunsRead(Message):
        """The runs and the queue were read again."""

        queued: tuple[QueueChoice, ...]
        rows: tuple[RunRow, ...]

    @dataclass
    class Resumed(Message):
        """A run goes on, or the reason why it can't."""

        run: Run
        problem: str = ""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.reader = RunReader(runs.home())
        self.choices: tuple[StartChoice, ...] = ()
        self.queued: tuple[QueueChoice, ...] = ()
        self.rows: tuple[RunRow, ...] = ()
        self.compared: Run | None = None
        """The first of two runs to compare."""
        self.began_s = time.monotonic()
        self.resuming = False

    def body(self) -> Iterable[Widget]:
        yield Static("Looking at this machine ...", id="found", markup=False)
        yield FilterInput(id="filter", compact=True, placeholder="words of a name, state, verdict, model or note")
        yield RunList(id="choices")
        yield Static(id="about", markup=False)
        yield LossPeek()
        yield Static(id="error", markup=False)

    def on_mount(self) -> None:
        self.query_one(FilterInput).display = False
        self.ticking = self.set_interval(1.0, self.tick)
        self.look_around()

    def tick(self) -> None:
        self.query_one("#found", Static).update(f"Looking at this machine ... {time.monotonic() - self.began_s:.0f} s")

    # Reading and showing

    @work(thread=True, exclusive=True, group="look")
    def look_around(self) -> None:
        base, begun = runs.home(), bool(self.draft.preset or self.draft.edits)
        machine = host.detect(base / "runs")
        self.post_message(self.Looked(machine, new_choices(base, begun), queue_choices(), self.reader.read()))

    def on_start_screen_looked(self, event: Looked) -> None:
        self.ticking.stop()
        self.draft, self.choices = replace(self.draft, machine=event.machine), event.choices
        self.queued, self.rows = event.queued, event.rows
        self.query_one("#found", Static).update(safe("\n".join(machine_lines(event.machine)), keep_newlines=True))
        live = [row for row in self.rows if row.is_live]
        self.list.fill(self.entries(), self.compared, live[0] if live else self.choices[0])
        self.set_interval(READ_EVERY_S, self.read_again)

    @work(thread=True, exclusive=True, group="look")
    def read_again(self) -> None:
        if self.is_current and (found := (queue_choices(), self.reader.read())) != (self.queued, self.rows):
            self.post_message(self.RunsRead(*found))

    def on_start_screen_runs_read(self, event: RunsRead) -> None:
        self.queued, self.rows = event.queued, event.rows
        self.show_runs()

    def entries(self) -> tuple[Entry, ...]:
        """The lines of the list: while a filter is on, only the runs that match."""
        words = self.query_one(FilterInput).value
        return (
            tuple(row for row in self.rows if row.matches(words))
            if words
            else (*self.choices, *self.queued, *self.rows)
        )

    def show_runs(self) -> None:
        entries = self.entries()
        self.list.fill(entries, self.compared)
        self.say_error("" if entries else "No run holds these words: Esc shows all again.")
        self.show_run()

    def on_option_list_option_highlighted(self) -> None:
        self.list.mark_in_hand()
        self.show_run()

    def show_run(self) -> None:
        """Say more of the run in hand."""
        row = self.row
        self.query_one("#about", Static).update(about(row) if row else safe("" if self.rows else FIRST_TIME))
        self.query_one(LossPeek).look(row)
        self.refresh_bindings()

    def say_error(self, text: str) -> None:
        self.query_one("#error", Static).update(safe(text, keep_newlines=True))

    @property
    def list(self) -> RunList:
        return self.query_one(RunList)

    @property
    def row(self) -> RunRow | None:
        """The run in hand."""
        entry = self.list.entry
        return entry if isinstance(entry, RunRow) else None

    # Enter

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        entry = self.list.entries[event.option_index]
        if self.resuming or entry is None:  # a second Enter
            return
        if isinstance(entry, RunRow):
            self.leave_with(Watch(entry.run))
        elif isinstance(entry, QueueChoice):
            self.action_queue()
        else:
            kept = restore(runs.home()) if entry is not self.choices[-1] else None
            draft = replace(kept[0], machine=self.draft.machine) if kept else self.draft
            self.leave_with(Reopen(draft, kept[1]) if kept else Forward(draft))

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        row = self.row if self.is_mounted else None
        match action:
            case "filter":
                return bool(self.rows)
            case "resume":
                return row is not None and row.told.status in RESUMABLE
            case "chat" | "use":
                return row is not None and row.has_adapter and not row.is_live
            case "rename" | "delete":
                return row is not None and not row.is_live
            case "note":
                return row is not None
            case "compare":
                return row is not None and len(self.rows) > 1
        return super().check_action(action, parameters)

    def action_filter(self) -> None:
        line = self.query_one(FilterInput)
        line.display = True
        line.focus()

    def action_unfilter(self) -> None:
        line = self.query_one(FilterInput)
        line.value, line.display = "", False
        self.list.focus()

    def on_input_changed(self) -> None:
        self.show_runs()

    def on_input_submitted(self) -> None:
        if self.entries():
            self.list.focus()

    def action_resume(self) -> None:
        if (row := self.row) and not self.resuming:
            self.say_error(f"Starting {row.run.name} again from its last checkpoint ...")
            self.resuming = True
            self.resume(row.run)

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
            self.say_error(f"ERROR {event.problem}")
        else:
            self.pop_until_active()  # help may lie over it
            self.leave_with(Watch(event.run))

    def action_chat(self) -> None:
        from fitune.tui.chat.screen import ChatScreen

        if row := self.row:
            self.app.push_screen(ChatScreen(row.run))

    def action_use(self) -> None:
        if row := self.row:
            actions.use(self.app, row.run, lambda run: self.leave_with(Watch(run)))

    def action_queue(self) -> None:
        from fitune.tui.home.queue_screen import QueueScreen

        self.app.push_screen(QueueScreen(), lambda run: self.leave_with(Watch(run)) if run else None)

    def action_compare(self) -> None:
        from fitune.tui.home.compare_screen import CompareScreen

        if (row := self.row) is None:
            return
        first, self.compared = self.compared, None
        if first is None:
            self.compared = row.run
        elif first != row.run:
            self.app.push_screen(CompareScreen(first, row.run))
        self.show_runs()
        if self.compared:
            self.say_error(f"{row.run.name} is marked with *. Press v on the run to compare it with.")

    def action_note(self) -> None:
        if row := self.row:
            add_note(self.app, row.run, row.told.step, lambda: None)

    def action_rename(self) -> None:
        if row := self.row:
            actions.ask_name(self.app, row.run, lambda _: self.look_again())

    def action_delete(self) -> None:
        if row := self.row:
            actions.ask_delete(self.app, row.run, self.look_again)

    def look_again(self) -> None:
        """Read the runs at once, as after one was renamed or deleted."""
        self.rows = ()
        self.read_again()

    def on_screen_resume(self) -> None:
        if self.choices:
            self.read_again()

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import home_keys
        from fitune.tui.widgets.help_page import HelpScreen
        from fitune.tui.wizard.help import help_text

        self.app.push_screen(HelpScreen([home_keys(), *help_text(self.NAME, self.draft)]))
