"""One run, alive or not: its story as it grows, and the keys that stop, resume or leave it. Looking can't hurt it."""

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
from textual.widgets import Static

from fitune.core.errors import UserError
from fitune.core.machine import GpuSample, host
from fitune.core.runs import LIVE, Run, RunInfo, Tail
from fitune.tui.text import safe
from fitune.tui.watch import actions, screen_text
from fitune.tui.watch.ending import Story, ending
from fitune.tui.watch.progress import Parts
from fitune.tui.watch.screen_text import Seen
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.log_tail import MAX_COLUMNS, ROWS, log_tail
from fitune.tui.widgets.loss_chart import LossChart
from fitune.tui.widgets.readouts import Readout

LOOK_EVERY_S = 0.5
CARD_EVERY_S = 2.0
DRAW_EVERY_S = 1.0
CHART_EVERY = 2
"""Of the drawings, every second draws the chart too: it is most of what goes over the wire."""


class WatchScreen(Screen[None]):
    """A thread looks at the run and posts what it saw; a clock draws it. Nothing else changes what is shown."""

    CSS_PATH = "watch.tcss"
    AUTO_FOCUS = "#tale"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,escape", "detach", "Detach", key_display="d"),
        Binding("q,escape", "close", "Close", key_display="q"),
        Binding("s", "stop", "Stop"),
        Binding("k", "kill", "Kill"),
        Binding("r", "resume", "Resume"),
        Binding("c", "deliver", "Use it"),
        Binding("l", "log", "Log"),
        Binding("n", "note", "Note"),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class Looked(Message):
        """The run was looked at."""

        seen: Seen

    @dataclass
    class CardRead(Message):
        """The card was asked how it does."""

        sample: GpuSample

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.watched = run
        self.seen: Seen | None = None
        self.sample: GpuSample | None = None
        self.log_wanted = self.resuming = False
        self._over = threading.Event()
        self._drawings = 0

    def compose(self) -> ComposeResult:
        yield Readout("title")
        yield Readout("status")
        yield Readout("progress")
        yield LossChart("chart")
        yield Readout("log")
        yield Readout("numbers")
        yield Readout("memory")
        yield Readout("card")
        with VerticalScroll(id="tale"):
            yield Readout("told")
        yield Static("terminal too small (need 80x24)  d leaves", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        self.line("title").say(screen_text.title(self.watched.name, None))
        self.line("status").say(Content("looking at the run ..."))
        self.look()
        self.read_card()
        self.set_interval(DRAW_EVERY_S, self.draw)

    def on_unmount(self) -> None:
        self._over.set()

    def line(self, name: str) -> Readout:
        return self.query_one(f"#{name}", Readout)

    # What there is to see

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def look(self) -> None:
        info: RunInfo | None
        try:
            info = self.watched.info()
        except UserError:
            info = None
        story, parts, tail = Story(), Parts(), Tail(self.watched.events)
        while not self._over.is_set():
            alive = self.watched.holder_pid() is not None  # before reading: what a dead worker wrote is all there
            for event in tail.catch_up():
                story.apply(event)
                parts.apply(event)
            status = self.watched.status(story.state)
            if alive or status not in LIVE:
                checkpoint = self.watched.newest_checkpoint()
                state, untold = story.state.copy(), self.watched.untold(story.state)
                if untold:  # a merge that is still starting is not the training
                    state.job, state.started_t, state.first_t = untold, None, None
                seen = Seen(
                    status, state, story.total_steps, story.eta_s(), self.watched.silent_s(),
                    tail.bad_lines, checkpoint.name if checkpoint else None,
                    None if status in LIVE else ending(self.watched, status, story.state),
                    parts.now(self.watched) if state.job != "train" and not untold else (),
                    log_tail(self.watched.log) if self.log_wanted else (), info,
                )  # fmt: skip
                self.post_message(self.Looked(seen))
            self._over.wait(LOOK_EVERY_S)

    @work(thread=True, exclusive=True, exit_on_error=False, group="card")
    def read_card(self) -> None:
        while not self._over.wait(CARD_EVERY_S):
            gpu = self.seen.info.gpu if self.seen and self.seen.live and self.seen.info else None
            if gpu and gpu.uuid:
                self.post_message(self.CardRead(host.sample(gpu.uuid)))

    def on_watch_screen_looked(self, event: Looked) -> None:
        before, self.seen = self.seen, event.seen
        if before is None or before.status != self.seen.status:
            self._drawings = 0
            self.draw()
        if before is None or (before.status, before.checkpoint) != (self.seen.status, self.seen.checkpoint):
            self.refresh_bindings()
        if self.seen.log and not (before and before.log):
            self.draw()

    def on_watch_screen_card_read(self, event: CardRead) -> None:
        self.sample = event.sample

    def draw(self) -> None:
        """Show what was seen last; what has not changed is not sent again."""
        seen = self.seen
        if seen is None:
            return
        plain, now_s = self.app.has_class("-plain-glyphs"), time.time()
        self.line("title").say(screen_text.title(self.watched.name, seen.info))
        self.line("status").say(screen_text.status(seen, now_s))
        self.line("progress").say(screen_text.progress_bar(seen, self.size.width - 2, plain))
        self.line("numbers").say(screen_text.numbers(seen, now_s))
        self.line("memory").say(screen_text.memory(seen, plain))
        self.line("card").say(screen_text.card(self.sample) if seen.live else Content())
        self.line("told").say(screen_text.tale(seen, self.size.width - 3, now_s))
        chart, log = self.query_one(LossChart), self.line("log")
        if self.log_wanted and seen.log:
            log.say(safe("\n".join(seen.log[-log.size.height :]), ROWS * MAX_COLUMNS, keep_newlines=True))
        chart.display = seen.job == "train" and not self.log_wanted
        self.query_one("#tale").set_class(seen.job != "train", "-alone")
        if self._drawings % CHART_EVERY == 0:
            chart.show(seen.state.loss.points, seen.state.eval_loss.points)
        self._drawings += 1

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return actions.offered(action, self.watched, self.seen)

    def action_detach(self) -> None:
        self.app.exit(0)

    def action_close(self) -> None:
        self.app.exit(0)

    def action_stop(self) -> None:
        actions.stop(self.app, self.watched, self.seen)

    def action_kill(self) -> None:
        actions.kill(self.app, self.watched, self.seen)

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
        # It takes the chart's place: nothing else moves, or has to be drawn anew.
        self.query_one(LossChart).display = not self.log_wanted and self.seen is not None and self.seen.job == "train"
        self.line("log").say(Content("reading the log ..." if self.log_wanted else ""))

    def action_note(self) -> None:
        actions.note(self.app, self.watched, self.seen)

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import watch_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(watch_help()))

    def ask_quit(self) -> None:
        """Ctrl+C or Ctrl+Q."""
        actions.leave(self.app, self.watched, self.seen)
