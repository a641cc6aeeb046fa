"""The watch screen: a run as it goes on, and the keys that stop, resume or leave it. Watching can't disturb it."""

import threading
import time
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from fitune.core.errors import UserError
from fitune.core.machine import GpuSample, host
from fitune.core.runs import LIVE, Run, RunInfo, Tail
from fitune.core.runs.findings import findings
from fitune.tui.text import safe
from fitune.tui.text.to_terminal import announce
from fitune.tui.watch import actions, screen_text
from fitune.tui.watch.ending import ending
from fitune.tui.watch.progress import RunProgress
from fitune.tui.watch.screen_text import Snapshot
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.log_tail import MAX_COLUMNS, ROWS, last_note, log_tail
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.step_chart import StepChart

READ_EVERY_S = 0.5
CARD_EVERY_S = 2.0
DRAW_EVERY_S = 1.0
CHART_EVERY = 2
"""Every second drawing draws the chart too: it is most of the bytes that a terminal gets."""

ROOMY_COLUMNS, ROOMY_ROWS = 110, 36
"""From this size on there is room for the history of other numbers than the loss."""
SMALL_CHARTS = {
    "lr": "learning rate",
    "grad-norm": "gradient norm",
    "pace": "tokens/s",
    "memory-used": "memory, GiB",
}


class WatchScreen(Screen[None]):
    """A thread reads the run and posts snapshots; a clock draws the newest. Nothing else changes the screen."""

    CSS_PATH = "watch.tcss"
    AUTO_FOCUS = "#details"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "home", "Home"),
        Binding("d", "detach", "Detach"),
        Binding("q", "close", "Close"),
        Binding("s", "stop", "Stop"),
        Binding("k", "kill", "Kill"),
        Binding("r", "resume", "Resume"),
        Binding("c", "deliver", "Use it"),
        Binding("l", "log", "Log"),
        Binding("n", "note", "Note"),
        Binding("y", "copy", "Copy command", show=False),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class RunRead(Message):
        """The run was read."""

        snapshot: Snapshot

    @dataclass
    class CardRead(Message):
        """The sensors of the cards were read."""

        samples: tuple[GpuSample, ...]

    class Left(Message):
        """The user wants to see the other runs."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.watched = run
        self.snapshot: Snapshot | None = None
        self.samples: tuple[GpuSample, ...] = ()
        self.log_wanted = self.resuming = False
        self._over = threading.Event()
        self._drawings = 0

    def compose(self) -> ComposeResult:
        yield Readout("title")
        yield Readout("status")
        yield Readout("progress")
        yield StepChart("chart", "loss")
        with Horizontal(id="small-charts"):
            yield from (StepChart(name, title) for name, title in SMALL_CHARTS.items())
        yield Readout("log")
        yield Readout("numbers")
        yield Readout("memory")
        yield Readout("card")
        with VerticalScroll(id="details"):
            yield Readout("details-text")
        yield Static("terminal too small (need 80x24)  d leaves", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        self.line("title").say(screen_text.title(self.watched.name, None))
        self.line("status").say(Content("reading the run ..."))
        self.read_run()
        self.read_card()
        self.set_interval(DRAW_EVERY_S, self.draw)

    def on_unmount(self) -> None:
        self._over.set()

    def line(self, name: str) -> Readout:
        return self.query_one(f"#{name}", Readout)

    # Reading and drawing

    @work(thread=True, exclusive=True, exit_on_error=False, group="run")
    def read_run(self) -> None:
        try:
            self._keep_reading()
        except UserError as error:  # events.jsonl is no file
            self.app.call_from_thread(self.line("status").say, safe(str(error)))

    def _keep_reading(self) -> None:
        info: RunInfo | None
        try:
            info = self.watched.info()
        except UserError:
            info = None
        progress, tail = RunProgress(), Tail(self.watched.events)
        while not self._over.is_set():
            alive = self.watched.holder_pid() is not None  # asked before reading: a dead worker writes no more
            for event in tail.catch_up():
                progress.apply(event)
            status = self.watched.status(progress.state)
            if alive or status not in LIVE:
                checkpoint = self.watched.newest_checkpoint()
                state, silent_job = progress.state.copy(), self.watched.silent_job(progress.state)
                if silent_job:  # a merge that is still starting is not the training
                    state.job, state.started_t, state.first_t = silent_job, None, None
                snapshot = Snapshot(
                    status=status,
                    state=state,
                    total_steps=progress.total_steps,
                    left=progress.left(),
                    silent_s=self.watched.silent_s(),
                    bad_lines=tail.bad_lines,
                    findings=findings(state),
                    checkpoint=checkpoint.name if checkpoint else None,
                    ending=None if status in LIVE else ending(self.watched, status, progress.state),
                    phases=progress.current_phases(self.watched, silent_job is not None) if status in LIVE else (),
                    note=last_note(self.watched.path / "notes.txt"),
                    log=log_tail(self.watched.log) if self.log_wanted else (),
                    info=info,
                )
                self.post_message(self.RunRead(snapshot))
            self._over.wait(READ_EVERY_S)

    @work(thread=True, exclusive=True, exit_on_error=False, group="card")
    def read_card(self) -> None:
        while not self._over.wait(CARD_EVERY_S):
            cards = self.snapshot.info.cards if self.snapshot and self.snapshot.live and self.snapshot.info else ()
            if samples := tuple(host.sample(card.uuid) for card in cards if card.uuid):
                self.post_message(self.CardRead(samples))

    def on_watch_screen_run_read(self, event: RunRead) -> None:
        before, self.snapshot = self.snapshot, event.snapshot
        if before is None or before.status != self.snapshot.status:
            self._drawings = 0
            self.draw()
        if before is not None and before.live and not self.snapshot.live:  # a run that ended under the user's eyes
            self.query_one("#details").scroll_home(animate=False)
            announce(self.app, f"{self.watched.name} {self.snapshot.status}")
        if before is None or (before.status, before.checkpoint) != (self.snapshot.status, self.snapshot.checkpoint):
            self.refresh_bindings()
        if self.snapshot.log and not (before and before.log):
            self.draw()

    def on_watch_screen_card_read(self, event: CardRead) -> None:
        self.samples = event.samples

    def draw(self) -> None:
        """Draw the newest snapshot; an unchanged line is not sent to the terminal again."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        plain, now_s = self.app.has_class("-plain-glyphs"), time.time()
        self.line("title").say(screen_text.title(self.watched.name, snapshot.info))
        self.line("status").say(screen_text.status(snapshot, now_s))
        self.line("progress").say(screen_text.progress_bar(snapshot, self.size.width - 2, plain))
        self.line("numbers").say(screen_text.numbers(snapshot, now_s))
        self.line("memory").say(screen_text.memory(snapshot, plain))
        self.line("card").say(screen_text.cards(self.samples) if snapshot.live else Content())
        self.set_class(bool(snapshot.info and snapshot.info.ranks > 1), "-several")
        self.query_one("#too-small", Static).update(screen_text.too_small(self.watched.name, snapshot, now_s))
        self.line("details-text").say(screen_text.details(snapshot, self.size.width - 3, now_s))
        chart, log = self.query_one("#chart", StepChart), self.line("log")
        if self.log_wanted and snapshot.log:
            log.say(safe("\n".join(snapshot.log[-log.size.height :]), ROWS * MAX_COLUMNS, keep_newlines=True))
        chart.display = snapshot.has_chart and not self.log_wanted
        small = self.query_one("#small-charts")
        small.display = chart.display and self.size.width >= ROOMY_COLUMNS and self.size.height >= ROOMY_ROWS
        self.query_one("#details").set_class(not snapshot.has_chart, "-alone")
        if self._drawings % CHART_EVERY == 0:
            chart.show(snapshot.state.loss.points, snapshot.state.eval_loss.points, snapshot.total_steps)
            if small.display:
                self.draw_small_charts(snapshot)
        self._drawings += 1

    def draw_small_charts(self, snapshot: Snapshot) -> None:
        """Draw the history of the other numbers."""
        for name, points in screen_text.histories(snapshot.state).items():
            self.query_one(f"#{name}", StepChart).show(points, (), snapshot.total_steps)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return actions.is_available(action, self.watched, self.snapshot)

    def action_home(self) -> None:
        """Back to the first screen, with the machine and all runs; this run is not touched."""
        self.post_message(self.Left())

    def action_copy(self) -> None:
        actions.copy(self.app, self.watched, self.snapshot)

    def action_detach(self) -> None:
        self.app.exit(0)

    def action_close(self) -> None:
        self.app.exit(0)

    def action_stop(self) -> None:
        actions.stop(self.app, self.watched, self.snapshot)

    def action_kill(self) -> None:
        actions.kill(self.app, self.watched, self.snapshot)

    def action_resume(self) -> None:
        if not self.resuming:
            self.resuming = True
            self.app.notify("Starting again from the last checkpoint ...", markup=False)
            self.resume()

    @work(thread=True, exclusive=True, group="resume")
    def resume(self) -> None:
        actions.resume(self.app, self.watched)
        self.resuming = False

    def action_deliver(self) -> None:
        from fitune.tui.deliver.screen import DeliverScreen

        self.app.push_screen(DeliverScreen(self.watched))

    def action_log(self) -> None:
        self.log_wanted = not self.log_wanted
        # The log takes the chart's place: nothing else moves or is drawn again.
        has_chart = self.snapshot is not None and self.snapshot.has_chart
        self.query_one("#chart").display = not self.log_wanted and has_chart
        self.line("log").say(Content("reading the log ..." if self.log_wanted else ""))

    def action_note(self) -> None:
        step = self.snapshot.state.step if self.snapshot else None
        actions.add_note(self.app, self.watched, step.step if step else None, self.draw)

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import watch_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(watch_help()))

    def ask_quit(self) -> None:
        """Ctrl+C or Ctrl+Q."""
        actions.leave(self.app, self.watched, self.snapshot)
