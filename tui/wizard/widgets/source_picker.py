"""The source of the rows: a box to type a path in, and below it what lies there, always in sight."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from fitune.core.data import Report
from fitune.core.errors import UserError
from fitune.tui.data.example_file import ASKED, OFFER, TASKS, task_lines, write_example
from fitune.tui.data.folder import Entry, entries, line, look_into
from fitune.tui.data.paths import as_path, complete_path, names_below
from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.widgets.field_input import Changed, FieldInput, PathSuggester

EXAMPLE = "such as questions.jsonl, or owner/name on the Hub"
OFFERED = Entry("", "example")
LOOKED_INTO = 40
"""Files of a folder whose first rows are looked at, to tell how many there are."""


class Chosen(Message):
    """A file was chosen from the list: it is to be read."""


@dataclass
class Told(Message):
    """A sentence for the user."""

    text: str


@dataclass
class LookedInto(Message):
    """The first rows of a file were looked at."""

    entry: Entry
    seen: Report


class PathBox(FieldInput):
    """The box. The arrows move in the list below it, Tab completes as in a shell."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.pick(1)", "Files", key_display="↑ ↓"),
        Binding("up", "screen.pick(-1)", show=False),
        Binding("tab", "screen.complete", "Complete", key_display="tab"),
        Binding("tab", "screen.views", "Views", key_display="tab"),
    ]


class SourcePicker(Vertical):
    """Posts Changed for another text, Chosen where it was chosen from the list, and Told."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.listed: tuple[Entry, ...] = entries(source)
        self.seen: dict[Entry, Report] = {}
        self.asks_task = False
        """The tasks of example files are listed."""

    def compose(self) -> Iterable[Widget]:
        with Horizontal(id="where"):
            yield Static("Rows", classes="label", markup=False)
            box = PathBox(all_fields()["data.source"], self.source, PathSuggester())
            box.placeholder = EXAMPLE
            yield box
        files = ChoiceList(id="files")
        files.can_focus = False
        yield files

    def on_mount(self) -> None:
        self.list_again()

    def on_resize(self) -> None:
        self.draw()

    @property
    def text(self) -> str:
        """The path or name in the box."""
        return as_path(self.query_one(PathBox).value)

    @property
    def files(self) -> ChoiceList:
        return self.query_one("#files", ChoiceList)

    @property
    def folder(self) -> str:
        """The folder that is listed, for the user; empty for the current one."""
        return names_below(self.text)[0]

    def list_again(self) -> None:
        """List what the text in the box may mean."""
        self.asks_task = False
        self.listed = entries(self.query_one(PathBox).value)
        self.draw()
        self.look()

    def draw(self) -> None:
        """Show the list; what is in the box already is marked."""
        if not self.is_mounted:
            return
        kept = self.files.highlighted if self.asks_task else self.at_text()
        lines = task_lines() if self.asks_task else [self.line(each) for each in self.offered]
        self.files.offer(lines)
        self.highlight(kept)

    def line(self, entry: Entry) -> str:
        """An entry as it is listed."""
        columns = max(40, self.files.content_size.width - 1)
        return OFFER if entry == OFFERED else line(entry, self.seen.get(entry), columns)

    def at_text(self) -> int | None:
        """The number of the entry that the text names."""
        return next((at for at, each in enumerate(self.offered) if each.path == self.text and self.text), None)

    @property
    def offered(self) -> tuple[Entry, ...]:
        """What is listed, with the offer of an example file: first where there is no other file."""
        files = tuple(each for each in self.listed if each.kind == "file")
        return (*files, OFFERED, *self.listed[len(files) :]) if not files else (*self.listed, OFFERED)

    # What the user does

    def move(self, by: int) -> None:
        """Another line of the list in hand."""
        now, lines = self.files.highlighted, self.files.option_count
        if now is None:
            self.highlight(0 if by > 0 else lines - 1)
        else:
            self.highlight(min(lines - 1, max(0, now + by)))

    def highlight(self, at: int | None) -> None:
        """Take a line of the list in hand."""
        self.files.highlighted = at
        self.set_class(at != self.at_text(), "-choosing")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter takes the line in hand; where that is in the box already, the screen goes on."""
        at = self.files.highlighted
        if at is None or (not self.asks_task and at == self.at_text()):
            return
        event.stop()
        self.choose(at)

    def choose(self, at: int) -> None:
        """Take a file, open a folder, or write an example file."""
        if self.asks_task:
            self.asks_task = False
            self.write(TASKS[at])
        elif self.offered[at] == OFFERED:
            self.asks_task = True
            self.draw()
            self.highlight(0)
            self.post_message(Told(ASKED))
        else:
            entry = self.offered[at]
            if entry.kind != "more":
                self.put(entry.path)
            if entry.kind == "file":
                self.post_message(Chosen())

    def write(self, task: str) -> None:
        try:
            name = write_example(task)
        except UserError as error:
            self.list_again()
            self.post_message(Told(f"ERROR {error}"))
        else:
            self.put(name)
            self.post_message(Chosen())

    def put(self, text: str) -> None:
        """Put a text into the box, and list what it means."""
        box = self.query_one(PathBox)
        with self.prevent(Input.Changed):
            box.value = text
        box.cursor_position = len(text)
        self.list_again()
        self.post_message(Changed(box.name or "", text))

    def complete(self) -> bool:
        """Complete the text as far as it is clear; False where there is nothing to complete."""
        text = self.text
        if (completed := complete_path(text)) != text:
            self.put(completed)
            return True
        folder, names = names_below(text)
        begun = len(text) > len(folder)
        if len(names) > 1 and begun and not Path(text).expanduser().is_file():
            self.post_message(Told(f"{len(names)} names begin so: type on, or choose with Down."))
            return True
        if not names and begun:
            self.post_message(Told(f"WARN Nothing in {folder or 'this folder'} begins with {text[len(folder) :]}."))
            return True
        return False

    # What is found out meanwhile

    @work(thread=True, exclusive=True, group="look")
    def look(self) -> None:
        """Look at the first rows of what is listed."""
        files = [each for each in self.listed if each.kind == "file" and each not in self.seen]
        worker = get_current_worker()
        for entry in files[:LOOKED_INTO]:
            if not worker.is_cancelled and (seen := look_into(entry)):
                self.post_message(LookedInto(entry, seen))

    def on_looked_into(self, event: LookedInto) -> None:
        event.stop()
        self.seen[event.entry] = event.seen
        if event.entry in self.offered and not self.asks_task:
            at = self.offered.index(event.entry)
            self.files.replace_option_prompt_at_index(at, safe(self.line(event.entry)))

    def on_input_changed(self, event: Input.Changed) -> None:
        """The box tells the screen; the list follows."""
        self.list_again()


def what_enter_does(source: str) -> str:
    """A sentence on a text that is not read yet."""
    if not source:
        return "Type a path, or choose with Down."
    if source.endswith("/"):
        return f"Enter reads all files in {source.rstrip('/')}. Or choose one with Down."
    if os.path.exists(os.path.expanduser(source)):  # raises nothing for a user after ~ whom nobody knows
        return "Enter reads it."
    if names_below(source)[1]:
        return "Type on, choose with Down, or let Tab complete it."
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return "Nothing here is called so: Enter asks the Hub for it."
    return "Nothing here is called so: type on, or choose with Down."
