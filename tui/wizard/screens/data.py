"""The fourth step: where the rows are, what is wrong with them, and what the model will see."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from fitune.core.data import Report
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.core.tokens import findings
from fitune.tui.data.example_file import ASKED, FileChoices
from fitune.tui.data.report_text import better_length, headline, mapping_lines, rendering_line
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.views import ViewChosen, ViewNames
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, prepared, recipe, reset_field, set_field, shown
from fitune.tui.wizard.fields import all_fields
from fitune.tui.wizard.options import THINKING, data_suggestions, thinking_choices
from fitune.tui.wizard.screens import data_reader
from fitune.tui.wizard.screens.data_reader import NotRead, NotRendered, Read, Reading, Rendered, Rendering
from fitune.tui.wizard.screens.data_views import VIEWS, draw
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.steps import Forward
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.field_input import Changed, FieldInput, PathSuggester

NOT_TRAINABLE = "These rows can't be trained on as they are: see Check."


class DataScreen(StepScreen):
    """A path to type, files to choose from, then what was found, one view at a time."""

    NAME: ClassVar[steps.Name] = "data"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l,f8", "lengthen", "Longer rows", key_display="^l"),
        Binding("pagedown", "line(8)", show=False),
        Binding("pageup", "line(-8)", show=False),
    ]
    AUTO_FOCUS = "FieldInput"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.choices = FileChoices(data_suggestions(Path.cwd()))
        if not draft.source and self.choices.files:
            self.draft = set_field(draft, "data.source", self.choices.files[0])
        self.began_s = time.monotonic()
        self.view, self.example = VIEWS[0], 0
        self.job: Run | None = None
        self.waiting = ""
        """The reason why there are no tokens yet."""

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="where"):
            yield Static("Rows", classes="label", markup=False)
            yield FieldInput(all_fields()["data.source"], self.draft.source, PathSuggester())
        yield Static(id="status", markup=False)
        yield ChoiceList(id="choices")
        yield ViewNames(VIEWS)
        with VerticalScroll(id="report", can_focus=False):
            yield Readout("rows")
        yield BudgetPanel(self.forecast, brief=True)

    def on_mount(self) -> None:
        self.show_budget()
        self.list_files()
        self.show()
        if self.draft.report is None:
            if self.draft.source:
                self.start_reading()
            return
        self.show_report(self.draft.report)
        if self.draft.report.can_train and prepared(self.draft) is None:
            self.start_rendering()
        self.offer_thinking()

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    def help_topic(self) -> str:
        return "data.source" if isinstance(self.focused, FieldInput) else self.NAME

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Rows are turned where they are seen one by one, and lengthened where they are cut."""
        if action == "turn":
            return self.view == "Tokens" and prepared(self.draft) is not None
        if action == "lengthen":
            return self.longer() is not None
        return super().check_action(action, parameters)

    # What the user does

    def on_changed(self, event: Changed) -> None:
        """Another source: what was found in the old one is void."""
        if event.text.strip() == self.draft.source:
            return
        draft = reset_field(self.draft, "data.columns")
        self.draft = replace(set_field(draft, event.name, event.text.strip()), report=None)
        self.stop_looking()
        self.choices.asks_task = False
        self.say("Enter reads it." if self.draft.source else "Type a path, or choose a file below.")
        self.list_files()
        self.show()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        await self.action_forward()

    async def action_forward(self) -> None:
        """Read the rows; once that is done and they can be used, go on."""
        report, found = self.draft.report, prepared(self.draft)
        if report is None:
            self.start_reading()
        elif not report.can_train:
            todo = "First say which column is which: Down and Enter choose." if report.candidates else ""
            self.say(f"ERROR {todo or NOT_TRAINABLE}")
        elif found and any(each.severity == "stop" for each in findings(found, recipe(self.draft))):
            self.say("ERROR Nothing is left to learn in these rows: see below.")
        else:
            self.leave_with(Forward(self.draft))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A file, the offer to write one, a mapping where the report is not sure, or whether the model shall think."""
        report = self.draft.report
        if report is not None and report.candidates:
            mapping = json.dumps(dict(report.candidates[event.option_index]))
            self.draft = replace(set_field(self.draft, "data.columns", mapping), report=None)
        elif report is not None:
            choice = thinking_choices(self.draft)[event.option_index]
            self.draft = set_field(self.draft, "data.thinking", choice.value)
        elif not self.choose_file(event.option_index):
            return
        self.query_one(FieldInput).focus()
        if self.draft.report is None:
            self.start_reading()
        else:
            self.start_rendering()

    def choose_file(self, number: int) -> bool:
        """Take the file of a line; False where there is none yet."""
        try:
            name = self.choices.choose(number)
        except UserError as error:
            self.say(f"ERROR {error}")
            return False
        if name is None:
            self.say(ASKED)
            self.list_files()
            return False
        self.query_one(FieldInput).value = name
        self.draft = set_field(self.draft, "data.source", name)
        return True

    def on_view_chosen(self, event: ViewChosen) -> None:
        self.view = event.name
        self.query_one("#report").scroll_home(animate=False)
        self.show()

    def action_line(self, by: int) -> None:
        """Scroll; up from the first line leads back to the path."""
        report = self.query_one("#report")
        if by == -1 and report.scroll_y == 0:
            self.query_one(FieldInput).focus()
        else:
            report.scroll_relative(y=by, animate=False)

    def action_turn(self, by: int) -> None:
        """Another row, token by token."""
        if found := prepared(self.draft):
            self.example = (self.example + by) % max(1, len(found.examples))
            self.query_one("#report").scroll_home(animate=False)
            self.show()

    async def action_lengthen(self) -> None:
        """Cut rows later, so that nearly all stay whole."""
        if length := self.longer():
            self.draft = set_field(self.draft, "model.max_seq_length", str(length))
            await self.refill()

    async def refill(self) -> None:
        self.show_budget()
        self.show()

    # What is found out meanwhile

    def start_reading(self) -> None:
        """Read in a thread: the head at once, then all of it, then its tokens."""
        if not self.draft.source:
            self.say("ERROR Type the path of a file, or the name of a data set on the Hub.")
            return
        self.stop_looking()
        self.began_s = time.monotonic()
        self.say("Reading ...")
        try:
            data_reader.read_rows(self, self.draft)
        except UserError as error:
            self.say(f"ERROR {error}")

    def start_rendering(self) -> None:
        """The rows are known already, but not their tokens."""
        self.began_s = time.monotonic()
        try:
            data_reader.render_rows(self, self.draft)
        except UserError as error:
            self.say(f"ERROR {error}")

    def stop_looking(self) -> None:
        """These rows are not wanted any more."""
        self.workers.cancel_group(self, data_reader.GROUP)
        if self.job:
            with suppress(UserError):  # then it goes on, and nobody waits for it
                self.job.request_stop()
        self.job, self.waiting, self.example, self.view = None, "", 0, VIEWS[0]

    def on_reading(self, event: Reading) -> None:
        if (waited_s := time.monotonic() - self.began_s) > 1 and event.share < 1:
            self.say(f"Reading all rows: {event.share:.0%}, {waited_s:.0f} s (Enter goes on without)")

    def on_read(self, event: Read) -> None:
        self.draft = replace(self.draft, report=event.report)
        if event.whole and event.report.can_train and not event.report.candidates:
            self.began_s = time.monotonic()
            self.waiting = "Counting tokens ..."
        self.show_report(event.report)

    def on_not_read(self, event: NotRead) -> None:
        self.say(f"ERROR {event.problem}")

    def on_rendering(self, event: Rendering) -> None:
        self.job = event.run
        waited_s = time.monotonic() - self.began_s
        said = rendering_line(event.state, shown(self.draft, "model.id"))
        self.wait(f"{said}, {waited_s:.0f} s. Enter goes on without.")

    def on_rendered(self, event: Rendered) -> None:
        self.draft, self.job = replace(self.draft, rendered=event.rendered), None
        self.show_budget()
        self.wait("")
        self.offer_thinking()
        self.refresh_bindings()

    def on_not_rendered(self, event: NotRendered) -> None:
        self.job = None
        self.wait(f"WARN The tokens can't be counted. {event.problem}\nEnter goes on without.")

    # What is shown

    def show_report(self, report: Report) -> None:
        """The state of the reading, the mappings to choose from, and the view."""
        asked = "\nWhich column is which? Down and Enter choose." if report.candidates else ""
        self.view = "Rows" if report.candidates else self.view
        self.say(headline(report) + asked)
        self.query_one(ChoiceList).offer(mapping_lines(report))
        self.show()

    def offer_thinking(self) -> None:
        """Ask whether the model shall think, where it does and the rows don't; it stands at what is chosen."""
        if (choices := thinking_choices(self.draft)) and (report := self.draft.report):
            self.say(f"{headline(report)}\n{THINKING} Down and Enter choose:")
            chosen = int(shown(self.draft, "data.thinking") == "off")
            self.query_one(ChoiceList).offer([choice.text for choice in choices], chosen)

    def wait(self, said: str) -> None:
        """Say how far the tokens are; a view that has them is drawn."""
        if said != self.waiting:
            self.waiting = said
            self.show()

    def show(self) -> None:
        """Draw the view."""
        report = self.draft.report
        names = self.query_one(ViewNames)
        names.display = report is not None
        names.mark(self.view)
        drawn = Content()
        if report is not None:
            room = self.query_one("#report").content_size
            plain = self.app.has_class("-plain-glyphs")
            drawn = draw(self.view, self.draft, report, self.waiting, self.example, room, plain)
        self.query_one("#rows", Readout).say(drawn)
        self.refresh_bindings()

    def longer(self) -> int | None:
        """The length that Ctrl+L would set."""
        found = prepared(self.draft)
        return better_length(found, recipe(self.draft)) if found else None

    def list_files(self) -> None:
        """Offer the files of this folder, or to write one."""
        self.query_one(ChoiceList).offer(self.choices.lines() if self.draft.report is None else ())
