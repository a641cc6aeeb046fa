"""The screen of ways to use a trained adapter: on top the list, below it what the one in hand needs, and its proof."""

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

from fitune.core import jobs
from fitune.core.deliver import gguf_tools
from fitune.core.errors import UserError
from fitune.core.runs import Run
from fitune.tui.deliver import questions
from fitune.tui.deliver.artifacts import Facts, look, with_sizes
from fitune.tui.deliver.local import hand_off, zip_up
from fitune.tui.deliver.options import WAYS, Key, Way, advice
from fitune.tui.deliver.proof_view import proof_lines
from fitune.tui.text import clean, safe
from fitune.tui.widgets.dialogs import ConfirmDialog
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.readouts import Readout
from fitune.tui.widgets.views import with_status_words

Result = TypeVar("Result")
TITLE_COLUMNS, WHAT_COLUMNS, LABEL_COLUMNS = 10, 48, 11


class Ways(OptionList):
    """The list, with its key in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Do it", key_display="enter")]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where everything lies is only told."""
        return not (action == "select" and WAYS[self.highlighted or 0].key == "files")


class DeliverScreen(Screen[None]):
    """The ways on top, the one in hand explained below."""

    CSS_PATH = "../watch/watch.tcss"
    AUTO_FOCUS = "#ways"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("space", "scroll_lines", "Scroll"),
        Binding("f1,question_mark", "help", "Help", key_display="?"),
    ]

    @dataclass
    class Found(Message):
        """The folder was looked at; once more with the model's sizes, for which the Hub may have to be asked."""

        facts: Facts

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.trained = run
        self.facts: Facts | None = None
        self.busy = False
        """Whether something is being started or made: what would be begun meanwhile would be begun twice."""

    def compose(self) -> ComposeResult:
        yield Readout("title")
        yield Ways(id="ways", compact=True, markup=False)
        with VerticalScroll(id="way", can_focus=False):
            yield Readout("what")
            yield Readout("lines")
        yield Static("terminal too small (need 80x24)  Esc goes back", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        name = safe(f"  {self.trained.name}", 60)
        self.query_one("#title", Readout).say(
            Content.styled("fitune", "bold $primary") + name + Content("   the adapter is ready")
        )
        ways = self.query_one(Ways)
        ways.set_options(row(way, None) for way in WAYS)
        ways.highlighted = 0
        self.find()

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def find(self) -> None:
        found = look(self.trained)
        self.post_message(self.Found(found))
        self.post_message(self.Found(with_sizes(found)))

    def on_deliver_screen_found(self, event: Found) -> None:
        self.facts, ways = event.facts, self.query_one(Ways)
        for index, way in enumerate(WAYS):
            ways.replace_option_prompt_at_index(index, row(way, self.facts))
        self.show_way()

    def on_option_list_option_highlighted(self) -> None:
        self.result([])
        self.show_way()
        self.refresh_bindings()

    def on_resize(self) -> None:
        self.show_way()

    def show_way(self) -> None:
        """Explain the way in hand."""
        way = WAYS[self.query_one(Ways).highlighted or 0]
        said = Content("looking at the run's folder ...")
        if self.facts:
            said = explained(way, self.facts, max(40, self.size.width - 4))
        self.query_one("#what", Readout).say(said)
        self.query_one("#way", VerticalScroll).scroll_home(animate=False)

    def result(self, lines: list[str]) -> None:
        """Show what came of a way that is done at once."""
        self.query_one("#lines", Readout).say(with_status_words(clean("\n".join(lines), 6000, keep_newlines=True)))
        if lines:
            self.call_after_refresh(self.query_one("#way", VerticalScroll).scroll_to_widget, self.query_one("#lines"))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if self.facts and not self.busy:
            self.begin(WAYS[event.option_index].key, self.facts)

    @work(exclusive=True, group="way")
    async def begin(self, key: Key, facts: Facts) -> None:
        """Ask what there is to ask, then do it; a refusal is said below what was told."""
        try:
            await self.do(key, facts)
        except UserError as error:
            self.result([f"ERROR {error}"])

    async def do(self, key: Key, facts: Facts) -> None:
        """Raises UserError."""
        match key:
            case "chat":
                from fitune.tui.chat.screen import ChatScreen

                self.app.push_screen(ChatScreen(self.trained))
            case "merge":
                await self.merge(facts)
            case "gguf":
                await self.gguf(facts)
            case "push":
                await self.push(facts)
            case "handoff":
                if asked := await questions.target(self.app, facts):
                    await self.make("writing ...", lambda: hand_off(self.trained, asked[0], Path(asked[1])))
            case "zip":
                await self.make("packing ...", lambda: zip_up(self.trained))

    async def merge(self, facts: Facts) -> None:
        """Merge, into another base where it must be, and not twice unasked. Raises UserError."""
        again = ConfirmDialog("Merge again?\nThe merged model that is there is replaced.", "Keep it", "Merge again")
        if facts.merged_bytes and not await self.app.push_screen_wait(again):
            return
        base = await questions.base(self.app, facts) if facts.quantized else None
        if base or not facts.quantized:
            await self.start(lambda: jobs.merge(self.trained, base))

    async def gguf(self, facts: Facts) -> None:
        """First the converter, if it is not here and may be fetched, then the kinds of files. Raises UserError."""
        if not facts.merged_bytes:
            raise UserError("GGUF files are made of the merged model.", "Merge first: it is the way above.")
        if facts.converter_missing:
            home = self.trained.path.parent.parent
            if not await self.app.push_screen_wait(
                ConfirmDialog(gguf_tools.install_question(home), "Don't fetch", "Fetch")
            ):
                return
            self.result(["fetching the converter ..."])
            await self.done(lambda: gguf_tools.install(home))
            self.result(["OK, the converter is here."])
            self.find()
        if kinds := await questions.kinds(self.app, facts):
            await self.start(lambda: jobs.export(self.trained, kinds))

    async def push(self, facts: Facts) -> None:
        """First the token, then what, where and for whom. Raises UserError."""
        self.result(["asking the Hub whose token this is ..."])
        who = await questions.account(self.app)
        self.result([])
        if who and (wish := await questions.push(self.app, facts, who)):
            await self.start(lambda: jobs.push(self.trained, wish.repo, wish.private, wish.what))

    async def start(self, begin: Callable[[], object]) -> None:
        """Start a job and go back to the watch screen, which shows it. Raises UserError."""
        await self.done(begin)
        self.pop_until_active()  # help may lie over it
        self.dismiss()

    async def make(self, doing: str, make: Callable[[], list[str]]) -> None:
        """Make something at once and show what came of it. Raises UserError."""
        self.result([doing])
        self.result(await self.done(make))
        self.find()

    async def done(self, do: Callable[[], Result]) -> Result:
        """What comes of something slow, which nothing is begun beside."""
        self.busy = True
        try:
            return await asyncio.to_thread(do)
        finally:
            self.busy = False

    def action_back(self) -> None:
        self.dismiss()

    def action_scroll_lines(self) -> None:
        way = self.query_one("#way", VerticalScroll)
        if way.scroll_offset.y >= way.max_scroll_y:
            way.scroll_home(animate=False)
        else:
            way.scroll_page_down(animate=False)

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import deliver_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(deliver_help()))


def row(way: Way, facts: Facts | None) -> Content:
    """A way in the list, with what is done of it; the status word has no colour, so that it is seen on the bar too."""
    done = way.state(facts) if facts else ""
    return safe(f"{way.title:<{TITLE_COLUMNS}}{way.what:<{WHAT_COLUMNS}}{done}".rstrip())


def explained(way: Way, facts: Facts, columns: int) -> Content:
    """What a way needs and leaves, and the proofs of what it made."""
    failed = [("failed", advice(proof)) for proof in way.proofs(facts) if not proof.passed]
    lines = [line for label, text in [*failed, *way.told(facts)] for line in _pair(label, text, columns)]
    for proof in way.proofs(facts):
        lines += proof_lines(proof, columns)
    return Content("\n").join(lines)


def _pair(label: str, text: str, columns: int) -> list[Content]:
    wrapped = textwrap.wrap(clean(text), columns - LABEL_COLUMNS, break_on_hyphens=False) or [""]
    labels = [label, *[""] * (len(wrapped) - 1)]
    pairs = zip(labels, wrapped, strict=True)
    return [Content.styled(f"{each:<{LABEL_COLUMNS}}", "dim") + Content(line) for each, line in pairs]
