"""The fourth step: where the rows are, what is wrong with them, and what the model will see."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.worker import Worker, get_current_worker

from core import dataset
from core.config import Data
from core.errors import UserError
from core.rows.report import Report
from tui import steps
from tui.choices import complete_path, data_suggestions
from tui.data_view import finding_lines, headline, mapping_lines, row_lines
from tui.draft import Draft, recipe, reset_field, set_field
from tui.fields import all_fields
from tui.screens.step import StepScreen
from tui.steps import Forward
from tui.text import safe
from tui.widgets.budget_panel import BudgetPanel
from tui.widgets.choices import Choices
from tui.widgets.field_input import Changed, FieldInput

PREVIEW_ROWS = 5


class LeftError(UserError):
    """The user went elsewhere while the rows were read."""


@dataclass
class Read(Message):
    """The head of the rows, or all of them, were read."""

    report: Report
    whole: bool


@dataclass
class NotRead(Message):
    """They can't be."""

    problem: str


@dataclass
class Progress(Message):
    """So far the reading has come."""

    share: float


def read_all(data: Data, worker: Worker[None], tell: Callable[[float], object]) -> Report:
    """Read all rows for a screen; `tell` hears the share that is done. Raises LeftError once the screen was left."""

    def on_progress(done_bytes: int, total_bytes: int) -> None:
        if worker.is_cancelled:
            raise LeftError("")
        tell(done_bytes / total_bytes if total_bytes else 1.0)

    return dataset.inspect(data, PREVIEW_ROWS, on_progress)


class PathSuggester(Suggester):
    """Completes a path; Right takes it."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return complete_path(value) if value else None


class DataScreen(StepScreen):
    """A path to type, files to choose from, then the report."""

    NAME: ClassVar[steps.Name] = "data"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "scroll(1)", "Rows", key_display="pgup pgdn"),
        Binding("pageup", "scroll(-1)", show=False),
    ]
    AUTO_FOCUS = "FieldInput"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.suggestions = data_suggestions(Path.cwd())
        if not draft.source and self.suggestions:
            self.draft = set_field(draft, "data.source", self.suggestions[0])
        self.began_s = time.monotonic()

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="where"):
            yield Static("Rows", classes="label", markup=False)
            yield FieldInput(all_fields()["data.source"], self.draft.source, PathSuggester())
        yield Static(id="status", markup=False)
        yield Choices(id="choices")
        with VerticalScroll(id="report", can_focus=False):
            yield Static(id="rows", markup=False)
        yield BudgetPanel(self.outlook, brief=True)

    def on_mount(self) -> None:
        self.list_files()
        if self.draft.report is not None:
            self.show_report(self.draft.report)
        elif self.draft.source:
            self.start_reading()

    def help_topic(self) -> str:
        return "data.source" if isinstance(self.focused, FieldInput) else self.NAME

    def on_changed(self, event: Changed) -> None:
        """Another source: what was found in the old one is void."""
        if event.text.strip() == self.draft.source:
            return
        draft = reset_field(self.draft, "data.columns")
        self.draft = replace(set_field(draft, event.name, event.text.strip()), report=None)
        self.workers.cancel_group(self, "read")
        self.say("Enter reads it." if self.draft.source else "Type a path, or choose a file below.")
        self.query_one("#rows", Static).update("")
        self.list_files()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        await self.action_forward()

    async def action_forward(self) -> None:
        """Read the rows; once that is done and they can be used, go on."""
        report = self.draft.report
        if report is None:
            self.start_reading()
        elif report.can_train:
            self.dismiss(Forward(self.draft))
        else:
            self.say("ERROR These rows can't be trained on as they are: see below.")

    def action_scroll(self, by: int) -> None:
        self.query_one("#report").scroll_relative(y=8 * by, animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A file, or where the report is not sure: a mapping."""
        report = self.draft.report
        if report is not None and report.candidates:
            mapping = json.dumps(dict(report.candidates[event.option_index]))
            self.draft = replace(set_field(self.draft, "data.columns", mapping), report=None)
        else:
            self.query_one(FieldInput).value = self.suggestions[event.option_index]
            self.draft = set_field(self.draft, "data.source", self.suggestions[event.option_index])
        self.query_one(FieldInput).focus()
        self.start_reading()

    def start_reading(self) -> None:
        """Read in a thread: the head at once, then all of it."""
        if not self.draft.source:
            self.say("ERROR Type the path of a file, or the name of a data set on the Hub.")
            return
        self.began_s = time.monotonic()
        self.say("Reading ...")
        try:
            self.read(recipe(self.draft).data)
        except UserError as error:
            self.say(f"ERROR {error}")

    @work(thread=True, exclusive=True, group="read")
    def read(self, data: Data) -> None:
        worker = get_current_worker()
        try:
            head = dataset.preview(data, PREVIEW_ROWS)
            if not worker.is_cancelled:
                self.post_message(Read(head, whole=False))
            report = read_all(data, worker, lambda share: self.post_message(Progress(share)))
            if not worker.is_cancelled:
                self.post_message(Read(report, whole=True))
        except LeftError:
            return
        except UserError as error:
            if not worker.is_cancelled:
                self.post_message(NotRead(str(error)))

    def on_progress(self, event: Progress) -> None:
        if (waited_s := time.monotonic() - self.began_s) > 1 and event.share < 1:
            self.say(f"Reading all rows: {event.share:.0%}, {waited_s:.0f} s (Enter goes on without)")

    def on_read(self, event: Read) -> None:
        self.draft = replace(self.draft, report=event.report)
        self.show_report(event.report)

    def on_not_read(self, event: NotRead) -> None:
        self.say(f"ERROR {event.problem}")

    def show_report(self, report: Report) -> None:
        """Problems first, then the mappings to choose from, then rows."""
        asked = "\nWhich column is which? Down and Enter choose." if report.candidates else ""
        self.say(headline(report) + asked)
        rows = [line for row in report.preview for line in ["", *row_lines(row)]]
        found = finding_lines(report)
        lines = [*found, *([""] if found else []), *(["What the model will see:"] if rows else []), *rows]
        self.query_one("#rows", Static).update(safe("\n".join(lines), 20_000, True))
        self.fill(mapping_lines(report))

    def list_files(self) -> None:
        """Offer the files of this folder."""
        self.fill(list(self.suggestions) if self.draft.report is None else [])

    def fill(self, lines: list[str]) -> None:
        """Put lines into the list; it vanishes where there are none."""
        options = self.query_one(Choices)
        options.set_options(safe(line) for line in lines)
        options.display = bool(lines)
        options.highlighted = 0 if lines else None

    def say(self, text: str) -> None:
        """How it stands, above the rows."""
        self.query_one("#status", Static).update(safe(text, keep_newlines=True))
        self.set_class(text.startswith("ERROR"), "-wrong")
