"""The fourth step: where the rows are, what is wrong with them, and what the model will see."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from fitune.core.data import Report
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.data.folder import entries, proposals
from fitune.tui.data.paths import as_path
from fitune.tui.data.report_text import LEARNS_FROM, asks, choice_head, choice_lines, headline, rendering_line
from fitune.tui.widgets.choices import ChoiceList
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.views import ViewChosen, ViewNames
from fitune.tui.wizard import steps
from fitune.tui.wizard.draft import Draft, prepared, reset_field, set_field, shown
from fitune.tui.wizard.forecast_text import long_rows_text
from fitune.tui.wizard.options import THINKING, chosen, thinking_choices
from fitune.tui.wizard.screens import data_reader
from fitune.tui.wizard.screens.data_reader import NotRead, NotRendered, Read, Reading, Rendered, Rendering
from fitune.tui.wizard.screens.data_views import VIEWS, draw, longer, why_not_on
from fitune.tui.wizard.screens.step import StepScreen
from fitune.tui.wizard.steps import Forward
from fitune.tui.wizard.widgets.budget_panel import BudgetPanel
from fitune.tui.wizard.widgets.field_input import Changed, FieldInput
from fitune.tui.wizard.widgets.source_picker import SourcePicker, Told, what_enter_does


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
        self.proposed = () if draft.source else proposals(entries(""))
        """Files that lie here, the newest first: it stands in the box, and is read at once if it is the only one."""
        self.began_s = time.monotonic()
        self.view, self.example = VIEWS[0], 0
        self.job: Run | None = None
        self.waiting = ""
        """The reason why there are no tokens yet."""

    def body(self) -> Iterable[Widget]:
        yield SourcePicker(self.draft.source or next((entry.path for entry in self.proposed), ""))
        yield Static(id="status", markup=False)
        yield ChoiceList(id="choices")
        yield ViewNames(VIEWS)
        with VerticalScroll(id="report", can_focus=False):
            yield Readout("rows")
        yield BudgetPanel(self.forecast, brief=True)

    def on_mount(self) -> None:
        self.show_budget()
        self.learn_shape()
        self.ask(())
        self.show()
        if self.draft.report is None:
            self.begin()
            return
        self.show_report(self.draft.report)
        if prepared(self.draft) is None:
            self.start(data_reader.render_rows)
        self.offer_thinking()

    def begin(self) -> None:
        """Read what was chosen before, or the only file that lies here; say what there is to choose from."""
        if len(self.proposed) > 1:
            self.say(f"{len(self.proposed)} files lie here. Enter reads the newest, Down chooses another.")
        elif self.draft.source or self.proposed:
            self.start_reading()
        else:
            self.say("No file with rows lies here. Type a path, or let fitune write an example: Down, Enter.")

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    def help_topic(self) -> str:
        return "data.source" if isinstance(self.focused, FieldInput) else self.NAME

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Rows are turned where they are seen one by one, and lengthened where they are cut."""
        if action in ("complete", "views"):
            return (self.draft.report is None) == (action == "complete")
        if action == "turn":
            return self.view == "Tokens" and prepared(self.draft) is not None
        if action == "lengthen":
            return longer(self.draft) is not None
        return super().check_action(action, parameters)

    # What the user does

    def on_changed(self, event: Changed) -> None:
        """Another source: what was found in the old one is void."""
        source = as_path(event.text)
        if source == self.draft.source or source in [entry.path for entry in self.proposed[:1]]:
            return
        self.proposed = ()
        draft = reset_field(self.draft, "data.columns")
        self.draft = replace(set_field(draft, event.name, source), report=None)
        self.stop_looking()
        self.ask(())
        self.say(what_enter_does(source))
        self.show()

    def on_told(self, event: Told) -> None:
        self.say(event.text)

    def on_chosen(self) -> None:
        self.start_reading()

    def action_pick(self, by: int) -> None:
        """Down leads to a question that is open, else through the files."""
        if (question := self.query_one("#choices")).display:
            question.focus()
        else:
            self.query_one(SourcePicker).move(by)

    def action_complete(self) -> None:
        """Tab completes what is typed; where nothing is left to complete, it leads on."""
        if not self.query_one(SourcePicker).complete():
            self.focus_next()

    def action_views(self) -> None:
        """Tab leads on from rows that were read."""
        self.focus_next()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        await self.action_forward()

    async def action_forward(self) -> None:
        """Read the rows; once that is done and they can be used, go on."""
        if self.draft.report is None:
            self.start_reading()
        elif why := why_not_on(self.draft, self.draft.report):
            self.say(f"ERROR {why}")
        else:
            self.leave_with(Forward(self.draft))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Another objective or a mapping where the report asks for it, or whether the model shall think."""
        report = self.draft.report
        if report is None:
            return
        if asks(report):
            self.draft = chosen(self.draft, report, event.option_index)
        else:
            choice = thinking_choices(self.draft)[event.option_index]
            self.draft = set_field(self.draft, "data.thinking", choice.value)
        self.query_one(FieldInput).focus()
        if self.draft.report is None:
            self.start_reading()
        else:
            self.start(data_reader.render_rows)

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
        if length := longer(self.draft):
            self.draft = set_field(self.draft, "model.max_seq_length", str(length))
            await self.refill()
            self.say(long_rows_text(self.draft))

    async def refill(self) -> None:
        self.show_budget()
        self.show()

    # What is found out meanwhile

    def start_reading(self) -> None:
        """Read in a thread: the head at once, then all of it, then its tokens."""
        self.draft = set_field(self.draft, "data.source", self.query_one(SourcePicker).text)
        if not self.draft.source:
            self.say("ERROR Type the path of a file, or the name of a data set on the Hub.")
            return
        self.stop_looking()
        self.say("Reading ...")
        self.start(data_reader.read_rows)

    def start(self, look: Callable[[Screen[Any], Draft], None]) -> None:
        """Start to read the rows, or to count the tokens of rows that are known."""
        self.began_s = time.monotonic()
        try:
            look(self, self.draft)
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
        if event.whole and event.report.can_train and not asks(event.report):
            self.began_s = time.monotonic()
            self.waiting = "Counting tokens ..."
        self.show_report(event.report)

    def on_not_read(self, event: NotRead) -> None:
        self.say(f"ERROR {event.problem}")

    def on_rendering(self, event: Rendering) -> None:
        self.job = event.run
        said = rendering_line(event.state, shown(self.draft, "model.id"))
        self.wait(f"{said}, {time.monotonic() - self.began_s:.0f} s. Enter goes on without.")

    def on_rendered(self, event: Rendered) -> None:
        self.draft, self.job = replace(self.draft, rendered=event.rendered), None
        self.show_budget()
        self.wait("")
        self.offer_thinking()
        self.refresh_bindings()

    def on_not_rendered(self, event: NotRendered) -> None:
        self.job = None
        self.wait(f"WARN The tokens can't be counted. {event.problem}\nEnter goes on without.")

    def show_report(self, report: Report) -> None:
        """The state of the reading, the mappings to choose from, and the view."""
        asked = f"\n{choice_head(report)}" if asks(report) else ""
        self.view = "Rows" if asks(report) else self.view
        self.say(headline(report) + asked)
        self.ask(choice_lines(report))
        self.show()

    def offer_thinking(self) -> None:
        """Ask whether the model shall think, where it does and the rows don't; it stands at what is chosen."""
        if (choices := thinking_choices(self.draft)) and (report := self.draft.report):
            self.say(f"{headline(report)}\n{THINKING} Down and Enter choose:")
            chosen = int(shown(self.draft, "data.thinking") == "off")
            self.ask([choice.text for choice in choices], chosen)

    def ask(self, answers: Sequence[str], chosen: int = 0) -> None:
        """Offer the answers to a question; none where nothing is open."""
        self.query_one("#choices", ChoiceList).offer(answers, chosen)
        self.set_class(bool(answers), "-asks")

    def wait(self, said: str) -> None:
        """Say how far the tokens are; a view that has them is drawn."""
        if said != self.waiting:
            self.waiting = said
            self.show()

    def show(self) -> None:
        """Draw the view."""
        report = self.draft.report
        self.set_class(report is not None, "-read")
        names = self.query_one(ViewNames)
        names.display = report is not None
        names.mark(self.view)
        drawn = Content("\n".join(LEARNS_FROM))
        if report is not None:
            room = self.query_one("#report").content_size
            plain = self.app.has_class("-plain-glyphs")
            drawn = draw(self.view, self.draft, report, self.waiting, self.example, room, plain)
        self.query_one("#rows", Readout).say(drawn)
        self.refresh_bindings()
