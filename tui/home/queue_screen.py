"""The queue: what has ended and how, what is at work, what waits; its entries are moved and taken out here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from fitune.core import queue
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.home.queue_rows import EntryDocument, describe, doing, headings, in_short, line
from fitune.tui.text import clean, safe
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.readouts import Readout

READ_EVERY_S = 2.0


class QueueScreen(Screen[Run | None]):
    """Reads the queue again as long as it is shown. Its answer is a run to watch, or None."""

    CSS_PATH = "../watch/watch.tcss"
    AUTO_FOCUS = "#entries"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "move(-1)", "Earlier"),
        Binding("l", "move(1)", "Later"),
        Binding("x,delete", "remove", "Remove", key_display="x"),
        Binding("s", "start", "Start it"),
        Binding("p", "stop", "Stop it"),
        Binding("escape", "dismiss(None)", "Home"),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class QueueRead(Message):
        """The queue was read, or the reason why it can't be, or why something could not be done."""

        entries: tuple[EntryDocument, ...]
        is_at_work: bool
        problem: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.entries: tuple[EntryDocument, ...] = ()
        self.is_at_work = False
        self.columns = 0
        """The width for which the entries are shown."""

    def compose(self) -> ComposeResult:
        yield Readout("title")
        yield Readout("state")
        yield Readout("headings")
        yield ChoiceList(id="entries")
        with Vertical(id="about"):
            yield Readout("error")
            yield Readout("said")
        yield Static("terminal too small (need 80x24)  Esc goes back", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        self.set_interval(READ_EVERY_S, self.read)
        self.read()

    @work(thread=True, group="queue")
    def read(self, change: Callable[[], object] | None = None) -> None:
        """Read the queue, after a change of it if one is given."""
        problem = ""
        try:
            if change:
                change()
        except UserError as error:
            problem = str(error)
        try:
            found = self.QueueRead(describe(queue.read()), queue.runner_pid() is not None, problem)
        except UserError as error:
            found = self.QueueRead((), False, str(error))
        shown = self.entries, self.is_at_work, self.columns
        if change or (found.entries, found.is_at_work, self.size.width - 2) != shown:
            self.post_message(found)

    def on_queue_screen_queue_read(self, event: QueueRead) -> None:
        kept = self.entry
        self.entries, self.is_at_work = event.entries, event.is_at_work
        self.say("title", Content.styled("fitune", "bold $primary") + safe(f"  {in_short(self.entries)}"))
        says = f"It {doing(self.entries)}, and goes on by itself." if self.is_at_work else "Nobody runs it now."
        self.say("state", Content(says if self.entries else "Add a recipe: fitune queue add RECIPE"))
        self.columns = self.size.width - 2
        self.say("headings", Content.styled(headings(self.columns) if self.entries else "", "$secondary"))
        shown = self.query_one(ChoiceList)
        names = [each.name for each in self.entries]
        at = names.index(kept.name) if kept and kept.name in names else shown.highlighted or self.first_open()
        shown.offer([line(each, self.columns) for each in self.entries], min(at, max(0, len(names) - 1)))
        self.say("error", safe(f"ERROR {event.problem}" if event.problem else "", 500))
        self.show_entry()

    def on_resize(self) -> None:
        self.read()

    def first_open(self) -> int:
        """The place of the first entry that has not ended."""
        return next((at for at, each in enumerate(self.entries) if each.ended is None), 0)

    def on_option_list_option_highlighted(self) -> None:
        self.show_entry()

    def show_entry(self) -> None:
        """Say more of the entry in hand."""
        entry = self.entry
        told = f"{entry.said or entry.state}\nFrom {entry.source}; its run: {entry.path}" if entry else ""
        self.say("said", safe(told, 1000, keep_newlines=True))
        self.refresh_bindings()

    def say(self, name: str, content: Content) -> None:
        self.query_one(f"#{name}", Readout).say(content)

    @property
    def entry(self) -> EntryDocument | None:
        """The entry in hand."""
        at = self.query_one(ChoiceList).highlighted if self.is_mounted else None
        return self.entries[at] if at is not None and at < len(self.entries) else None

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        entry = self.entry
        match action:
            case "move":
                return entry is not None and entry.state == "waiting"
            case "remove":
                return entry is not None and entry.state != "at work"
            case "start":
                return not self.is_at_work and any(each.ended is None for each in self.entries)
            case "stop":
                return self.is_at_work
        return True

    def on_option_list_option_selected(self) -> None:
        if (entry := self.entry) is None:
            return
        if entry.began is None or entry.state == "refused":
            self.say("error", safe(f"{entry.name} has no run yet." if entry.began is None else "It has no run."))
        else:
            self.dismiss(Run(entry.folder))

    def action_move(self, by: int) -> None:
        if (entry := self.entry) is None:
            return
        waiting = [each.name for each in self.entries if each.state == "waiting"]
        place = waiting.index(entry.name) + 1 + by
        if place >= 1:
            self.read(lambda: queue.move(entry.name, place))

    def action_remove(self) -> None:
        if (entry := self.entry) is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.read(lambda: queue.remove([entry.name]))

        if entry.ended is not None:  # its run stays, and tells the same
            answered(True)
            return
        question = f"Take {clean(entry.name)} out of the queue? Its recipe is not kept elsewhere."
        self.app.push_screen(ConfirmDialog(question, "Leave it", "Take it out"), answered)

    def action_start(self) -> None:
        self.read(queue.start)

    def action_stop(self) -> None:
        self.read(queue.stop)

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import queue_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(queue_help()))
