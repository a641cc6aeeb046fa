"""The chat screen: a trained model and its base get the same question; their answers are side by side if they fit."""

import threading
import time
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from fitune.core.errors import UserError
from fitune.core.jobs import chat
from fitune.core.jobs.chat import Chat, Conversation, Settings
from fitune.core.jobs.messages.chat import SIDES, Answered, Done, Question, Ready, Refused, Text
from fitune.core.jobs.messages.chat import Message as ChatMessage
from fitune.core.runs import Failed, Phase, Run, Warned
from fitune.tui.chat.answer_pane import AnswerPane
from fitune.tui.chat.text import as_one_line, end_text, failure, opening_text, phase_text, settings_text
from fitune.tui.text import clean, safe
from fitune.tui.widgets.footer import Keys
from fitune.tui.widgets.readouts import Readout

DRAW_EVERY_S = 0.1
"""Interval of redrawing: a fast model writes more often, and each redraw goes over the wire."""
HINT = "Your question; up brings one from your data, page up scrolls"


class QuestionInput(Input):
    """The input for a question. Keys with which Textual's Input would scroll have other actions here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Ask", key_display="enter"),
        Binding("up", "screen.ready(1)", show=False),
        Binding("down", "screen.ready(-1)", show=False),
        Binding("pageup", "screen.scroll_panes(-1)", show=False),
        Binding("pagedown", "screen.scroll_panes(1)", show=False),
    ]


class ChatScreen(Screen[None]):
    """A thread receives the messages of the model's process; a timer redraws the answers."""

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
    class MessageReceived(Message):
        """The model's process sent a message."""

        message: ChatMessage

    @dataclass
    class LoadFailed(Message):
        """The model can't be loaded."""

        error: UserError

    def __init__(self, run: Run, settings: Settings | None = None, share_gpu: bool = False) -> None:
        super().__init__()
        self.trained, self.settings, self.share_gpu = run, settings or Settings(), share_gpu
        self.chat: Chat | None = None
        self.conversation: Conversation | None = None
        self.warnings: list[str] = []
        self.data_question: Question | None = None
        """The last question, if it was one from the data."""
        self.answering = False
        self.waits, self.since_s = "", time.monotonic()
        """What is waited for, told with the seconds up to now; empty once it is there."""
        self._offered = -1
        self._over = threading.Event()

    def compose(self) -> ComposeResult:
        yield Readout("title")
        with Container(id="panes"):
            for side in SIDES:
                yield AnswerPane(side)
        yield Readout("status")
        yield QuestionInput(id="question", compact=True, placeholder=HINT)
        yield Static("terminal too small (need 80x24)  Esc leaves", id="too-small", markup=False)
        yield Keys()

    def on_mount(self) -> None:
        title = Content.styled("fitune", "bold $primary") + safe(f"  {self.trained.name}", 60)
        self.query_one("#title", Readout).say(title + Content.styled("   the same question to both", "dim"))
        self.wait("looking for room for the model ...")
        self.listen()
        self.set_interval(DRAW_EVERY_S, self.draw)

    def on_unmount(self) -> None:
        self._over.set()
        if self.chat:
            self.chat.close()

    def say(self, text: str, mark: str = "", whole: bool = False) -> None:
        """Show a line below the panes; an error may take several, and what is shown whole."""
        self.waits = ""
        word = Content.styled(f"{mark} ", f"bold ${mark.lower()}") if mark else Content()
        status = self.query_one("#status", Readout)
        status.set_class(whole or mark == "ERROR", "-whole")
        status.say(word + safe(text, 600))

    def wait(self, text: str) -> None:
        """Show what is waited for, with a clock."""
        self.say(f"{text} {time.monotonic() - self.since_s:.0f} s")
        self.waits = text

    def pane(self, side: str) -> AnswerPane:
        return self.query_one(f"#{side}", AnswerPane)

    # Messages of the model's process

    @work(thread=True, exclusive=True, exit_on_error=False, group="listen")
    def listen(self) -> None:
        try:
            self.chat = chat.start(self.trained, self.share_gpu)
        except UserError as error:
            self.post_message(self.LoadFailed(error))
            return
        if self._over.is_set():  # left meanwhile
            self.chat.close()
        for message in self.chat.heard():
            self.post_message(self.MessageReceived(message))

    def on_chat_screen_load_failed(self, event: LoadFailed) -> None:
        self.say(str(event.error), "ERROR")

    def on_chat_screen_message_received(self, event: MessageReceived) -> None:
        message = event.message
        match message:
            case Phase():
                self.wait(phase_text(message))
            case Warned():
                self.warnings.append(f"WARN {message.message}")
            case Ready():
                self.conversation = Conversation(list(message.questions))
                self.say(f"ready on {message.device}: {settings_text(self.settings)}")
                self.action_restart()
            case Text():
                self.pane(message.side).write(message.text)
            case Answered():
                self.take(message)
            case Done():
                self.done()
            case Refused() | Failed():
                if isinstance(message, Failed):
                    self.conversation = None  # there is nobody to talk with
                self.say(str(failure(message)), "ERROR")
                self.done(say=False)

    def take(self, answer: Answered) -> None:
        """Show the end of one side's answer."""
        by_itself, sentence = end_text(answer)
        mark = Content() if by_itself else Content.styled("WARN ", "bold $warning")
        self.pane(answer.side).end(mark + Content.styled(sentence, "dim"))
        if self.conversation:
            self.conversation.answered(answer.side, answer.text)

    def done(self, say: bool = True) -> None:
        """Get ready for the next question."""
        self.answering = False
        self.draw()
        self.refresh_bindings()
        if say:
            asked = self.data_question
            text = f"in the data: {asked.reference}" if asked else settings_text(self.settings)
            self.say(" ".join(text.split()), whole=bool(asked))

    def draw(self) -> None:
        for pane in self.query(AnswerPane):
            pane.draw()
        if self.waits:
            self.wait(self.waits)

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
            refusal = "It is still answering: Esc stops it." if self.answering else "The model is not loaded."
            self.app.notify(refusal, markup=False)
            return
        self.data_question = next(
            (question for question in self.conversation.questions if as_one_line(question) == text), None
        )
        text = self.data_question.shown if self.data_question else text
        try:
            asked = self.conversation.ask(text)
        except UserError as error:  # an image that can't be read
            self.app.notify(clean(str(error)), severity="error", markup=False)
            return
        self.chat.ask(asked, self.settings)
        for side in SIDES:
            self.pane(side).begin(text)
        self.answering = True
        event.input.clear()
        self.refresh_bindings()
        self.since_s = time.monotonic()
        self.wait("answering ...")

    def action_ready(self, step: int) -> None:
        """Put the next question from the data into the input."""
        if self.conversation is None:
            return
        questions = self.conversation.questions
        self._offered = (self._offered + step) % len(questions)
        line = self.query_one(QuestionInput)
        line.value = as_one_line(questions[self._offered])
        line.cursor_position = 0

    def action_restart(self) -> None:
        if self.conversation is None or self.answering:
            return
        self.conversation.restart()
        for side in SIDES:
            self.pane(side).clear("\n".join(filter(None, [*self.warnings, opening_text(self.conversation)])))
        self.refresh_bindings()

    def action_scroll_panes(self, pages: int) -> None:
        for pane in self.query(AnswerPane):
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
