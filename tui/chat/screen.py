"""A trained model and its base, asked the same: one above the other, side by side where there is room."""

import threading
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from fitune.core.errors import UserError
from fitune.core.jobs import chat
from fitune.core.jobs.chat import Chat, Conversation, Settings
from fitune.core.jobs.chat_messages import SIDES, Answered, Done, Question, Ready, Refused, Side, Text
from fitune.core.jobs.chat_messages import Message as ChatMessage
from fitune.core.runs import Failed, Phase, Run, Warned
from fitune.tui.chat.text import ANSWER_CHARS, NAMES, ended, failure, kept, manner, phase
from fitune.tui.text import clean, safe
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.readouts import Readout

DRAW_EVERY_S = 0.1
"""A fast model writes more often than that: each drawing goes over the wire."""
QUESTION_CHARS = 150
"""Of a question, so many are repeated above its answers: in 24 rows there is room for little else."""
HINT = "Your question; up brings one from your data, page up scrolls"


class QuestionInput(Input):
    """The line to type in. Textual's would scroll itself by keys that mean something here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Ask", key_display="enter"),
        Binding("up", "screen.ready(1)", show=False),
        Binding("down", "screen.ready(-1)", show=False),
        Binding("pageup", "screen.scroll_panes(-1)", show=False),
        Binding("pagedown", "screen.scroll_panes(1)", show=False),
    ]


class Pane(VerticalScroll):
    """What one side was asked and has answered."""

    can_focus = False

    def __init__(self, side: Side) -> None:
        super().__init__(id=side)
        self.border_title = NAMES[side]
        self._question = self._answer = ""
        self._end = Content()
        self._drawn = True

    def begin(self, question: str) -> None:
        """Another question, as yet without an answer."""
        self._question, self._answer, self._end, self._drawn = question, "", Content(), False
        self.mount(Static(markup=False))
        self.scroll_end(animate=False)

    def write(self, text: str) -> None:
        """A piece of the answer."""
        self._answer, self._drawn = self._answer + text, False

    def end(self, end: Content) -> None:
        """How the answer ended."""
        self._end, self._drawn = end, False
        self.draw()

    def draw(self) -> None:
        """Show what has come since the last drawing."""
        if self._drawn or not self.children:
            return
        self._drawn = True
        asked = Content.styled(f"> {clean(' '.join(self._question.split()), QUESTION_CHARS)}", "bold")
        parts = [asked, safe(self._answer.strip(), ANSWER_CHARS, keep_newlines=True), self._end]
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self.query(Static).last().update(Content("\n").join(part for part in parts if part))
        if at_end:  # who has scrolled back to read stays there
            self.scroll_end(animate=False)

    def clear(self, opening: str) -> None:
        """An empty pane, but for what comes before the first question."""
        self.remove_children()
        self._drawn = True
        if opening:
            self.mount(Static(Content.styled(clean(opening, keep_newlines=True), "dim")))


class ChatScreen(Screen[None]):
    """A thread hears what the model's process says; the answers are drawn by a clock."""

    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = "#question"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-stacked"), (110, "-beside")]  # noqa: RUF012 - Textual's way
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "restart", "Start anew", key_display="^n"),
        Binding("escape", "stop", "Stop"),
        Binding("escape", "back", "Leave"),
        Binding("f1", "help", "Help", key_display="f1"),
    ]

    @dataclass
    class Heard(Message):
        """The model's process said something."""

        said: ChatMessage

    @dataclass
    class Refused(Message):
        """The model can't be loaded, and why."""

        error: UserError

    def __init__(self, run: Run, settings: Settings | None = None, share_gpu: bool = False) -> None:
        super().__init__()
        self.trained, self.settings, self.share_gpu = run, settings or Settings(), share_gpu
        self.chat: Chat | None = None
        self.conversation: Conversation | None = None
        self.warnings: list[str] = []
        self.asked: Question | None = None
        """The question of the data that was asked last, if it was one."""
        self.answering = False
        self._offered = -1
        self._over = threading.Event()

    def compose(self) -> ComposeResult:
        yield Readout("title")
        with Container(id="panes"):
            for side in SIDES:
                yield Pane(side)
        yield Readout("status")
        yield QuestionInput(id="question", compact=True, placeholder=HINT)
        yield Static("terminal too small (need 80x24)  Esc leaves", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        title = Content.styled("fitune", "bold $primary") + safe(f"  {self.trained.name}", 60)
        self.query_one("#title", Readout).say(title + Content.styled("   the same question to both", "dim"))
        self.say("looking for room for the model ...")
        self.listen()
        self.set_interval(DRAW_EVERY_S, self.draw)

    def on_unmount(self) -> None:
        self._over.set()
        if self.chat:
            self.chat.close()

    def say(self, text: str, mark: str = "") -> None:
        """One line below the panes; of what went wrong as many as it takes."""
        word = Content.styled(f"{mark} ", f"bold ${mark.lower()}") if mark else Content()
        status = self.query_one("#status", Readout)
        status.set_class(mark == "ERROR", "-whole")
        status.say(word + safe(text, 600))

    def pane(self, side: str) -> Pane:
        return self.query_one(f"#{side}", Pane)

    # What the model's process says

    @work(thread=True, exclusive=True, exit_on_error=False, group="listen")
    def listen(self) -> None:
        try:
            self.chat = chat.start(self.trained, self.share_gpu)
        except UserError as error:
            self.post_message(self.Refused(error))
            return
        if self._over.is_set():  # left meanwhile
            self.chat.close()
        for said in self.chat.heard():
            self.post_message(self.Heard(said))

    def on_chat_screen_refused(self, event: Refused) -> None:
        self.say(str(event.error), "ERROR")

    def on_chat_screen_heard(self, event: Heard) -> None:
        said = event.said
        match said:
            case Phase():
                self.say(phase(said))
            case Warned():
                self.warnings.append(f"WARN {said.message}")
            case Ready():
                self.conversation = Conversation(list(said.questions))
                self.say(f"ready on {said.device}: {manner(self.settings)}")
                self.action_restart()
            case Text():
                self.pane(said.side).write(said.text)
            case Answered():
                self.take(said)
            case Done():
                self.done()
            case Refused() | Failed():
                if isinstance(said, Failed):
                    self.conversation = None  # there is nobody to talk with
                self.say(str(failure(said)), "ERROR")
                self.done(say=False)

    def take(self, answer: Answered) -> None:
        """One side has answered."""
        by_itself, said = ended(answer)
        mark = Content() if by_itself else Content.styled("WARN ", "bold $warning")
        self.pane(answer.side).end(mark + Content.styled(said, "dim"))
        if self.conversation:
            self.conversation.answered(answer.side, answer.text)

    def done(self, say: bool = True) -> None:
        """The model waits for the next question."""
        self.answering = False
        self.draw()
        self.refresh_bindings()
        if say:
            told = f"in the data: {self.asked.reference}" if self.asked else manner(self.settings)
            self.say(" ".join(told.split()))

    def draw(self) -> None:
        for pane in self.query(Pane):
            pane.draw()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "stop":
                return self.answering
            case "back":
                return not self.answering
            case "ready":
                return bool(self.conversation and self.conversation.questions)
        return True

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text:
            return
        if self.chat is None or self.conversation is None or self.answering:
            busy = "It is still answering: Esc stops it." if self.answering else "The model is not loaded."
            self.app.notify(busy, markup=False)
            return
        self.asked = next((each for each in self.conversation.questions if one_line(each) == text), None)
        text = self.asked.shown if self.asked else text
        self.chat.ask(self.conversation.ask(text), self.settings)
        for side in SIDES:
            self.pane(side).begin(text)
        self.answering = True
        event.input.clear()
        self.refresh_bindings()
        self.say("answering ...")
        self.draw()

    def action_ready(self, step: int) -> None:
        """Put the next question of the data into the line."""
        if self.conversation is None:
            return
        questions = self.conversation.questions
        self._offered = (self._offered + step) % len(questions)
        line = self.query_one(QuestionInput)
        line.value = one_line(questions[self._offered])
        line.cursor_position = 0

    def action_restart(self) -> None:
        if self.conversation is None or self.answering:
            return
        self.conversation.restart()
        for side in SIDES:
            self.pane(side).clear("\n".join(filter(None, [*self.warnings, kept(self.conversation)])))
        self.refresh_bindings()

    def action_scroll_panes(self, pages: int) -> None:
        for pane in self.query(Pane):
            pane.scroll_relative(y=pages * pane.scrollable_content_region.height, animate=False)

    def action_stop(self) -> None:
        if self.chat:
            self.chat.stop()

    def action_back(self) -> None:
        self.dismiss()

    def action_help(self) -> None:
        from fitune.tui.text.help_pages import chat_help
        from fitune.tui.widgets.help_page import HelpScreen

        self.app.push_screen(HelpScreen(chat_help()))


def one_line(question: Question) -> str:
    """A question as it stands in the line, whose text has no line ends."""
    return " ".join(question.shown.split())
