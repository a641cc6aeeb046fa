"""The watch screen: a run as it goes on, and the keys that stop, resume or leave it. Watching can't disturb it."""

import threading
import time
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from fitune.core.errors import UserError
from fitune.core.machine import GpuSample, host
from fitune.core.runs import LIVE, Run, RunInfo, Tail
from fitune.core.runs.findings import findings
from fitune.tui.text import clean, safe
from fitune.tui.text.to_terminal import announce
from fitune.tui.watch import actions, screen_text
from fitune.tui.watch.ending import ending
from fitune.tui.watch.panes.charts import Charts
from fitune.tui.watch.panes.log_view import LogView, SearchInput
from fitune.tui.watch.progress import RunProgress
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.log_tail import LONG_BLOCK_BYTES, LONG_ROWS, last_note, log_tail
from fitune.tui.widgets.readouts import Readout

READ_EVERY_S = 0.5
CARD_EVERY_S = 2.0
DRAW_EVERY_S = 1.0
CHART_EVERY = 2
"""Every second drawing draws the chart too: it is most of the bytes that a terminal gets."""


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
        Binding("c", "chat", "Chat"),
        Binding("u", "deliver", "Use it"),
        Binding("p", "prefer", "Prefer"),
        Binding("l", "log", "Log"),
        Binding("z", "chart", "Chart"),
        Binding("plus,equals_sign", "zoom(1)", show=False),
        Binding("minus", "zoom(-1)", show=False),
        Binding("n", "note", "Note"),
        Binding("y", "copy", "Copy command", show=False),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class RunRead(Message):
        """The run was read."""

        snapshot: screen_text.Snapshot

    @dataclass
    class CardRead(Message):
        """The sensors of the cards were read."""

        samples: tuple[GpuSample, ...]

    @dataclass
    class Left(Message):
        """The user wants to see the other runs, or to train on from what this one made."""

        train_on: Run | None = None

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.watched = run
        self.snapshot: screen_text.Snapshot | None = None
        self.samples: tuple[GpuSample, ...] = ()
        self.log_wanted = self.resuming = False
        self.began_s = time.monotonic()
        self._over = threading.Event()
        self._drawings = 0

    def compose(self) -> ComposeResult:
        yield Readout("title")
        yield Readout("status")
        yield Readout("progress")
        yield Charts()
        yield LogView("log")
        yield SearchInput(id="search", compact=True, placeholder="words to find in the log")
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
        self.line("details-text").say(safe(f"Its folder: {self.watched.path}"))
        self.query_one(LogView).display = self.query_one(SearchInput).display = False
        self.read_run()
        self.read_card()
        self.set_interval(DRAW_EVERY_S, self.draw)

    def on_unmount(self) -> None:
        self._over.set()

    def line(self, name: str) -> Readout:
        return self.query_one(f"#{name}", Readout)

    @work(thread=True, exclusive=True, exit_on_error=False, group="run")
    def read_run(self) -> None:
        try:
            self._keep_reading()
        except UserError as error:  # events.jsonl is no file
            self.app.call_from_thread(self.line("status").say, safe(str(error)))

    def _keep_reading(self) -> None:
        info: RunInfo | None
        try:
            info, changes = self.watched.info(), self.watched.changes()
        except UserError:
            info, changes = None, {}
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
                snapshot = screen_text.Snapshot(
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
                    log=log_tail(self.watched.log, LONG_ROWS, LONG_BLOCK_BYTES) if self.log_wanted else (),
                    info=info,
                    changes=changes,
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
        if before is None or before.decides_keys != self.snapshot.decides_keys:
            self.refresh_bindings()
        if self.snapshot.log and not (before and before.log):
            self.draw()

    def on_watch_screen_card_read(self, event: CardRead) -> None:
        self.samples = event.samples
        self.query_one(Charts).add_sample(time.monotonic() - self.began_s, event.samples)

    def draw(self) -> None:
        """Draw the newest snapshot; an unchanged line is not sent to the terminal again."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        plain, now_s = self.app.has_class("-plain-glyphs"), time.time()
        self.line("title").say(screen_text.title(self.watched.name, snapshot.info))
        self.line("status").say(screen_text.status(snapshot, now_s))
        self.line("progress").say(screen_text.progress_bar(snapshot, self.size.width - 2, plain))
        self.line("numbers").say(screen_text.numbers(snapshot, now_s, self.size.width - 2))
        self.line("memory").say(screen_text.memory(snapshot, plain))
        self.line("card").say(screen_text.cards(self.samples) if snapshot.live else Content())
        self.set_class(bool(snapshot.info and snapshot.info.ranks > 1), "-several")
        self.query_one("#too-small", Static).update(screen_text.too_small(self.watched.name, snapshot, now_s))
        self.line("details-text").say(screen_text.details(snapshot, self.size.width - 3, now_s))
        if self.log_wanted:
            self.query_one(LogView).show(snapshot.log)
        self.query_one(Charts).display = snapshot.has_chart and not self.log_wanted
        if snapshot.info and not self._drawings:
            self.query_one(Charts).show_recipe(snapshot.info, snapshot.changes)
        self.query_one("#details").set_class(not snapshot.has_chart, "-alone")
        if self._drawings % CHART_EVERY == 0:
            self.query_one(Charts).show(snapshot.state, snapshot.total_steps)
        self._drawings += 1

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        is_hidden = action in ("chart", "zoom") and self.log_wanted
        return not is_hidden and actions.is_available(action, self.watched, self.snapshot)

    def action_home(self) -> None:
        self.post_message(self.Left())

    def action_copy(self) -> None:
        actions.copy(self.app, self.watched, self.snapshot)

    def action_detach(self) -> None:
        self.app.exit(0)

    action_close = action_detach

    def action_stop(self) -> None:
        actions.stop(self.app, self.watched, self.snapshot)

    def action_kill(self) -> None:
        actions.kill(self.app, self.watched, self.snapshot)

    def action_resume(self) -> None:
        if not self.resuming:
            self.resuming = True
            self.app.notify(actions.starts_again(self.watched), markup=False)
            self.resume()

    @work(thread=True, exclusive=True, group="resume")
    def resume(self) -> None:
        actions.resume(self.app, self.watched)
        self.resuming = False

    def action_chat(self) -> None:
        actions.chat(self.app, self.watched)

    def action_deliver(self) -> None:
        actions.deliver(self.app, self.watched)

    def action_prefer(self) -> None:
        actions.prefer(self.app, self.watched, lambda: self.post_message(self.Left(self.watched)))

    def action_log(self) -> None:
        """Show the log in the place of charts and text, or these again."""
        self.log_wanted = not self.log_wanted
        has_chart = self.snapshot is not None and self.snapshot.has_chart
        log = self.query_one(LogView)
        log.show(("reading the log ...",))
        log.display = self.log_wanted
        self.query_one(Charts).display = has_chart and not self.log_wanted
        self.query_one("#details").display = not self.log_wanted
        self.action_end_search()

    def action_search(self) -> None:
        line = self.query_one(SearchInput)
        line.display = True
        line.focus()

    def action_end_search(self) -> None:
        line, log = self.query_one(SearchInput), self.query_one(LogView)
        line.value, line.display = "", False
        log.search("")
        (log if self.log_wanted else self.query_one("#details")).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value and not self.query_one(LogView).search(event.value):
            event.input.placeholder = f"no line holds {clean(event.value, 40)}: other words?"
            event.input.clear()
        else:
            event.input.display = False
            self.query_one(LogView).focus()

    def action_chart(self) -> None:
        self.query_one(Charts).next_chart()

    def action_zoom(self, step: int) -> None:
        self.query_one(Charts).zoom(step)

    def action_note(self) -> None:
        step = self.snapshot.state.step if self.snapshot else None
        actions.add_note(self.app, self.watched, step.step if step else None, self.draw)

    def action_help(self) -> None:
        actions.show_help(self.app, self.snapshot)

    def ask_quit(self) -> None:
        """Ctrl+C or Ctrl+Q."""
        actions.leave(self.app, self.watched, self.snapshot)
