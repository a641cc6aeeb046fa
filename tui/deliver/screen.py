"""The deliver screen: a list of options for a trained adapter, and below it needs and proofs of the highlighted one."""

import asyncio
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import OptionList, Static

from fitune.core import hub, jobs
from fitune.core.deliver import gguf_tools
from fitune.core.errors import TokenNeeded, UserError
from fitune.core.runs import Run
from fitune.tui.deliver import questions
from fitune.tui.deliver.artifacts import RunArtifacts, inspect_run, with_sizes
from fitune.tui.deliver.handoff import hand_off, zip_up
from fitune.tui.deliver.options import OPTIONS, DeliveryOption, Key, advice
from fitune.tui.deliver.proof_view import proof_lines
from fitune.tui.text import clean, safe
from fitune.tui.text.to_terminal import copy_command
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.views import with_status_words

Result = TypeVar("Result")
TITLE_COLUMNS, WHAT_COLUMNS, LABEL_COLUMNS = 10, 48, 11


class OptionsList(OptionList):
    """The list of options, with its key in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Do it", key_display="enter")]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow "Do it" for all options but the list of files."""
        return not (action == "select" and OPTIONS[self.highlighted or 0].key == "files")


class DeliverScreen(Screen[None]):
    """The list of options, and a description of the highlighted one."""

    CSS_PATH = "../watch/watch.tcss"
    AUTO_FOCUS = "#options"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("space", "scroll_lines", "Scroll"),
        Binding("y", "copy", "Copy command"),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class Found(Message):
        """The run was inspected; sent a second time with the model's sizes, which may come from the Hub."""

        artifacts: RunArtifacts

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.trained = run
        self.artifacts: RunArtifacts | None = None
        self.command = ""
        """The command to type next, after a hand-off."""
        self.busy = False
        """True while something is being started or made, so that nothing is begun twice."""

    def compose(self) -> ComposeResult:
        yield Readout("title")
        yield OptionsList(id="options", compact=True, markup=False)
        with VerticalScroll(id="option", can_focus=False):
            yield Readout("what")
            yield Readout("lines")
        yield Static("terminal too small (need 80x24)  Esc goes back", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        name = safe(f"  {self.trained.name}", 60)
        self.query_one("#title", Readout).say(
            Content.styled("fitune", "bold $primary") + name + Content("   the adapter is ready")
        )
        ways = self.query_one(OptionsList)
        ways.set_options(row(option, None) for option in OPTIONS)
        ways.highlighted = 0
        self.find()

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def find(self) -> None:
        artifacts = inspect_run(self.trained)
        self.post_message(self.Found(artifacts))
        self.post_message(self.Found(with_sizes(artifacts)))

    def on_deliver_screen_found(self, event: Found) -> None:
        self.artifacts, ways = event.artifacts, self.query_one(OptionsList)
        for index, option in enumerate(OPTIONS):
            ways.replace_option_prompt_at_index(index, row(option, self.artifacts))
        self.show_option()

    def on_option_list_option_highlighted(self) -> None:
        self.result([])
        self.show_option()
        self.refresh_bindings()

    def on_resize(self) -> None:
        self.show_option()

    def show_option(self) -> None:
        """Describe the highlighted option."""
        option = OPTIONS[self.query_one(OptionsList).highlighted or 0]
        content = Content("looking at the run's folder ...")
        if self.artifacts:
            content = option_text(option, self.artifacts, max(40, self.size.width - 4))
        self.query_one("#what", Readout).say(content)
        self.query_one("#option", VerticalScroll).scroll_home(animate=False)

    def result(self, lines: list[str], command: str = "") -> None:
        """Show the result of an option that is done at once, and the command that y copies."""
        self.command = command
        self.refresh_bindings()
        self.query_one("#lines", Readout).say(with_status_words(clean("\n".join(lines), 6000, keep_newlines=True)))
        if lines:
            self.call_after_refresh(
                self.query_one("#option", VerticalScroll).scroll_to_widget, self.query_one("#lines")
            )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if self.artifacts and not self.busy:
            self.begin(OPTIONS[event.option_index].key, self.artifacts)

    @work(exclusive=True, group="option")
    async def begin(self, key: Key, artifacts: RunArtifacts) -> None:
        """Ask the option's questions, then do it; an error is shown below its description."""
        try:
            await self.do(key, artifacts)
        except UserError as error:
            self.result([f"ERROR {error}"])

    async def do(self, key: Key, artifacts: RunArtifacts) -> None:
        """Do an option. Raises UserError."""
        match key:
            case "chat":
                from fitune.tui.chat.screen import ChatScreen

                self.app.push_screen(ChatScreen(self.trained))
            case "merge":
                await self.merge(artifacts)
            case "gguf":
                await self.gguf(artifacts)
            case "push":
                await self.push(artifacts)
            case "handoff":
                if answers := await questions.target(self.app, artifacts):
                    await self.make("writing ...", lambda: hand_off(self.trained, answers[0], Path(answers[1])))
            case "zip":
                await self.make("packing ...", lambda: zip_up(self.trained))

    async def merge(self, artifacts: RunArtifacts) -> None:
        """Merge, into another base if needed; a second merge is confirmed first. Raises UserError."""
        again = ConfirmDialog("Merge again?\nThe merged model that is there is replaced.", "Keep it", "Merge again")
        if artifacts.merged_bytes and not await self.app.push_screen_wait(again):
            return
        base = await questions.base(self.app, artifacts) if artifacts.quantized else None
        if base or not artifacts.quantized:
            await self.start(lambda: jobs.merge(self.trained, base))

    async def gguf(self, artifacts: RunArtifacts) -> None:
        """Fetch the converter if it is missing and the user agrees, ask for kinds, then export. Raises UserError."""
        if not artifacts.merged_bytes:
            raise UserError("GGUF files are made from the merged model.", "Merge first: it is the option above.")
        if artifacts.converter_missing:
            home = self.trained.path.parent.parent
            if not await self.app.push_screen_wait(
                ConfirmDialog(gguf_tools.install_question(home), "Don't fetch", "Fetch")
            ):
                return
            self.result(["fetching the converter ..."])
            await self.done(lambda: gguf_tools.install(home))
            self.result(["OK, the converter is here."])
            self.find()
        if kinds := await questions.kinds(self.app, artifacts):
            await self.start(lambda: jobs.export(self.trained, kinds))

    async def push(self, artifacts: RunArtifacts) -> None:
        """Check the token, ask what to push, then push. Raises UserError."""
        who = await self.account()
        if who and (choice := await questions.push(self.app, artifacts, who)):
            await self.start(lambda: jobs.push(self.trained, choice.repo, choice.private, choice.what))

    async def account(self) -> hub.Account | None:
        """The account of the token; ask for a token as long as the Hub knows none. Raises UserError."""
        while True:
            self.result(["asking the Hub for the account of the token ..."])
            try:
                return await asyncio.to_thread(hub.account)
            except TokenNeeded as error:
                self.result([])  # nothing is asked while the question is open
                if not await questions.token(self.app, error.message):
                    return None
            finally:
                self.result([])

    async def start(self, begin: Callable[[], object]) -> None:
        """Start a job and go back to the watch screen, which shows it. Raises UserError."""
        await self.done(begin)
        self.pop_until_active()  # a help page may be on top
        self.dismiss()

    async def make(self, doing: str, make: Callable[[], tuple[str, list[str]]]) -> None:
        """Make something at once and show what comes next, then the result. Raises UserError."""
        self.result([doing])
        command, lines = await self.done(make)
        self.result([f"Next: {command}   (y copies it)", "", *lines] if command else lines, command)
        self.find()

    async def done(self, do: Callable[[], Result]) -> Result:
        """The result of a slow call; meanwhile nothing else can be begun."""
        self.busy = True
        try:
            return await asyncio.to_thread(do)
        finally:
            self.busy = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "copy" or bool(self.command)

    def action_copy(self) -> None:
        copy_command(self.app, self.command)

    def action_back(self) -> None:
        self.dismiss()

    def action_scroll_lines(self) -> None:
        option = self.query_one("#option", VerticalScroll)
        if option.scroll_offset.y >= option.max_scroll_y:
            option.scroll_home(animate=False)
        else:
            option.scroll_page_down(animate=False)

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import deliver_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(deliver_help()))


def row(option: DeliveryOption, artifacts: RunArtifacts | None) -> Content:
    """An option in the list, with its state; the status word has no colour, so that it is visible on the cursor bar."""
    done = option.state(artifacts) if artifacts else ""
    return safe(f"{option.title:<{TITLE_COLUMNS}}{option.what:<{WHAT_COLUMNS}}{done}".rstrip())


def option_text(option: DeliveryOption, artifacts: RunArtifacts, columns: int) -> Content:
    """An option's needs and results, and the proofs of its artifacts."""
    failed = [("failed", advice(proof)) for proof in option.proofs(artifacts) if not proof.passed]
    lines = [line for label, text in [*failed, *option.describe(artifacts)] for line in _pair(label, text, columns)]
    for proof in option.proofs(artifacts):
        lines += proof_lines(proof, columns)
    return Content("\n").join(lines)


def _pair(label: str, text: str, columns: int) -> list[Content]:
    wrapped = textwrap.wrap(clean(text), columns - LABEL_COLUMNS, break_on_hyphens=False) or [""]
    labels = [label, *[""] * (len(wrapped) - 1)]
    pairs = zip(labels, wrapped, strict=True)
    return [Content.styled(f"{text_label:<{LABEL_COLUMNS}}", "dim") + Content(line) for text_label, line in pairs]
