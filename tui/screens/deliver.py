"""The screen of ways to use a trained adapter: on top the list, below it what the one in hand does and needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import OptionList, Static

from core import launch
from core.errors import UserError
from core.runs import Run
from tui.text import clean, safe
from tui.ways import WAYS, Facts, facts
from tui.widgets.ask import Ask
from tui.widgets.confirm import Confirm
from tui.widgets.keys import Keys
from tui.widgets.meters import Line


class DeliverScreen(Screen[None]):
    """The ways on top, the one in hand explained below."""

    CSS_PATH = "../watch.tcss"
    AUTO_FOCUS = "#ways"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("space", "scroll_lines", "Scroll"),
    ]

    @dataclass
    class Found(Message):
        """The folder was looked at."""

        facts: Facts

    @dataclass
    class Refused(Message):
        """The job did not start, and why."""

        problem: str

    @dataclass
    class Known(Message):
        """The Hub knows the token, and said whose it is."""

        user: str

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.trained = run
        self.facts: Facts | None = None

    def compose(self) -> ComposeResult:
        yield Line("title")
        yield OptionList(id="ways", compact=True, markup=False)
        with VerticalScroll(id="way", can_focus=False):
            yield Line("what")
            yield Line("lines")
        yield Static("terminal too small (need 80x24)  Esc goes back", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        name = safe(f"  {self.trained.name}", 60)
        self.query_one("#title", Line).say(
            Content.styled("fitune", "bold $primary") + name + Content("   the adapter is ready")
        )
        ways = self.query_one(OptionList)
        ways.set_options(Content(f"{way.title:<8}{way.what}") for way in WAYS)
        ways.highlighted = 0
        self.find()

    @work(thread=True, exclusive=True, exit_on_error=False, group="find")
    def find(self) -> None:
        self.post_message(self.Found(facts(self.trained)))

    def on_deliver_screen_found(self, event: Found) -> None:
        self.facts = event.facts
        self.show_way(self.query_one(OptionList).highlighted or 0)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.show_way(event.option_index)

    def show_way(self, index: int) -> None:
        """Explain one of WAYS."""
        way = WAYS[index]
        if self.facts is None:
            self.query_one("#what", Line).say(Content("looking at the run's folder ..."))
            return
        how = "Enter does it." if way.job else "fitune does not do this by itself yet. These lines do:"
        needs = Content.styled("needs ", "dim") + safe(way.needs(self.facts))
        self.query_one("#what", Line).say(needs + Content(f"\n\n{how}"))
        self.query_one("#lines", Line).say(safe("" if way.job else way.lines(self.facts), keep_newlines=True))
        self.query_one("#way", VerticalScroll).scroll_home(animate=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        match WAYS[event.option_index].job:
            case "chat":
                from tui.screens.chat import ChatScreen

                self.app.push_screen(ChatScreen(self.trained))
            case "merge":
                self.start(lambda: launch.merge(self.trained))
            case "push":
                self.query_one("#lines", Line).say(Content("asking the Hub whose token this is ..."))
                self.ask_hub()

    @work(thread=True, exclusive=True, exit_on_error=False, group="hub")
    def ask_hub(self) -> None:
        try:
            self.post_message(self.Known(hub_user()))
        except UserError as error:
            self.post_message(self.Refused(str(error)))

    @work
    async def on_deliver_screen_known(self, event: Known) -> None:
        """Name, visibility, and both once more before anything leaves this machine."""
        self.query_one("#lines", Line).say(Content())
        proposed = f"{event.user}/{self.trained.name}-model"
        asked = "Name of the repository on the Hub"
        repo = await self.app.push_screen_wait(Ask(asked, proposed, launch.check_repo))
        if repo is None:
            return
        asked = f"Who may see {repo}?\nprivate: only you   public: everyone"
        seen_by = await self.app.push_screen_wait(Ask(asked, "private", check_visibility))
        if seen_by is None:
            return
        private = seen_by.strip() == "private"
        visible = "private: only you can see it" if private else "PUBLIC: everyone can see it"
        question = f"Upload the adapter to the Hub?\n{repo}\n{visible}"
        if await self.app.push_screen_wait(Confirm(question, "Don't upload", "Upload")):
            self.start(lambda: launch.push(self.trained, repo, private))

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def start(self, begin: Callable[[], object]) -> None:
        """Start a job and go back to the watch screen, which shows it."""
        try:
            begin()
        except UserError as error:
            self.post_message(self.Refused(str(error)))
        else:
            self.app.call_from_thread(self.dismiss)

    def on_deliver_screen_refused(self, event: Refused) -> None:
        self.query_one("#lines", Line).say(Content())
        self.app.notify(clean(event.problem), severity="error", markup=False)

    def action_back(self) -> None:
        self.dismiss()

    def action_scroll_lines(self) -> None:
        way = self.query_one("#way", VerticalScroll)
        if way.scroll_offset.y >= way.max_scroll_y:
            way.scroll_home(animate=False)
        else:
            way.scroll_page_down(animate=False)


def check_visibility(answer: str) -> None:
    """Raise UserError unless it is one of the two words."""
    if answer.strip() not in ("private", "public"):
        raise UserError("Type private or public.")


def hub_user() -> str:
    """Who the Hub says the user is. Raises UserError without a token, or without the Hub."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        return str(HfApi().whoami()["name"])
    except LocalTokenNotFoundError:
        raise UserError("There is no token for the Hub.", "In a shell: hf auth login") from None
    except HfHubHTTPError as error:
        raise UserError(f"The Hub refused: status {error.response.status_code}.", "In a shell: hf auth login") from None
    except (httpx.HTTPError, OfflineModeIsEnabled) as error:
        raise UserError(f"The Hub can't be reached: {error}", "See: fitune doctor") from None
