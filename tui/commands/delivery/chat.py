"""`fitune chat RUN`: ask a trained model and its base the same questions, on a screen or in lines."""

import argparse
import re
import signal
import sys
from dataclasses import asdict, dataclass

from fitune.core import runs
from fitune.core.errors import ExitCode, UserError
from fitune.core.jobs import chat
from fitune.core.jobs.chat import Chat, Conversation, Settings
from fitune.core.jobs.messages.chat import Answered, Done, Ended, Question, Ready, Refused, Side, Text
from fitune.core.runs import Failed, Phase, Warned
from fitune.tui.chat.text import (
    ANSWER_CHARS,
    NAMES,
    check_settings,
    end_text,
    failure,
    opening_text,
    phase_text,
    settings_text,
)
from fitune.tui.terminal import is_terminal, surface
from fitune.tui.text import as_ascii_json, clean, encodable

HELP = (
    "Ctrl+C stops an answer, Ctrl+D leaves, /new starts a new conversation, @PATH before a question shows an image, "
    "? shows this again."
)


@dataclass(frozen=True, slots=True)
class AnswerDocument:
    """An answer in `fitune chat --prompt TEXT --json`."""

    text: str
    """The answer."""
    ended: Ended
    """itself: with a mark that ends an answer. Else what cut it: length or asked (Ctrl+C)."""
    tokens: int
    """Length of the answer."""
    elapsed_s: float
    """Seconds that it took."""


def run(args: argparse.Namespace) -> int:
    """Exit status: 0, or 130 if a --prompt's answer was stopped. Raises UserError if the chat can't start or answer."""
    run = runs.find(runs.home(), args.run)
    settings = check_settings(args.max_tokens, args.temperature)
    if args.json and args.prompt is None:
        raise UserError("--json needs a question.", "Give it with --prompt.")
    terminal = surface()
    if args.prompt is None and not args.plain and terminal in ("full", "basic"):
        from fitune.tui.app import run_chat

        return run_chat(run, settings, args.share_gpu, plain_glyphs=terminal == "basic")
    with chat.start(run, args.share_gpu) as started:
        session = Session(started, settings, silent=args.json)
        if args.prompt is None:
            return session.talk()
        answers = session.ask(args.prompt)
        if args.json:
            documents = {side: _document(answer) for side, answer in answers.items()}
            print(as_ascii_json({side: asdict(document) for side, document in documents.items()}))
        stopped = any(answer.ended == "asked" for answer in answers.values())
        return ExitCode.STOPPED if stopped else ExitCode.DONE


def _document(answer: Answered) -> AnswerDocument:
    return AnswerDocument(answer.text, answer.ended, answer.tokens, answer.elapsed_s)


class Session:
    """A conversation in lines: answers to stdout, all else to stderr."""

    def __init__(self, chat: Chat, settings: Settings, silent: bool) -> None:
        """silent: print no answers. Returns when the model is loaded. Raises UserError if it can't be loaded."""
        self.chat, self.settings, self.silent = chat, settings, silent
        self._messages = chat.heard()
        self.conversation = self._await_ready()

    def _await_ready(self) -> Conversation:
        for message in self._messages:
            match message:
                case Phase():
                    _say(phase_text(message))
                case Warned():
                    _say(f"WARN  {message.message}")
                case Failed():
                    raise failure(message)
                case Ready():
                    _say(f"{message.model} on {message.device}: {settings_text(self.settings)}")
                    conversation = Conversation(list(message.questions))
                    if opening := opening_text(conversation):
                        _say(opening)
                    return conversation
        log = self.chat.run.path / "chat.log"
        raise UserError("The model's process ended before it was ready.", f"See {log}", ExitCode.FAILED)

    def talk(self) -> int:
        """Ask each line of stdin as a question, until its end."""
        if sys.stdin is None:
            raise UserError("There is nothing to read questions from.", "Give one with --prompt.")
        is_interactive = is_terminal(sys.stdin)
        if is_interactive:
            self._greet()
        while True:
            try:
                text = self._read(is_interactive)
            except EOFError:
                return ExitCode.DONE
            except KeyboardInterrupt:
                _say("\nCtrl+D leaves.")
                continue
            if text == "/new":
                self.conversation.restart()
                _say("A new conversation.")
            elif is_interactive and re.fullmatch(r"\?|/\w+", text):  # /help, or a number that no question has
                self._greet()
            elif text:
                try:
                    self.ask(text)
                except UserError as error:
                    _say(f"ERROR {error}")

    def _greet(self) -> None:
        _say(HELP)
        for number, question in enumerate(self.conversation.questions, 1):
            text = " ".join(question.shown.split())
            _say(f"/{number} asks, from your data: {text[:300]}")

    def _read(self, asks: bool) -> str:
        """Read a question, or the number of one from the data. Raises EOFError at the end of the input."""
        if asks:
            print("you> ", end="", file=sys.stderr, flush=True)
        text = input().strip()
        numbered = {f"/{number}": question.shown for number, question in enumerate(self.conversation.questions, 1)}
        return numbered.get(text, text)

    def ask(self, text: str) -> dict[Side, Answered]:
        """Ask both sides, print their answers as they come, and add them to the conversation. Ctrl+C stops them.

        Raises UserError if the question is refused.
        """
        self.chat.ask(self.conversation.ask(text), self.settings)
        old_handler = signal.signal(signal.SIGINT, lambda *_: self.chat.stop())
        try:
            answers = self._receive_answers()
        finally:
            signal.signal(signal.SIGINT, old_handler)
        question = next((candidate for candidate in self.conversation.questions if candidate.shown == text), None)
        if question is not None and not self.silent:
            self._print_reference(question)
        return answers

    def _receive_answers(self) -> dict[Side, Answered]:
        answers: dict[Side, Answered] = {}
        speaking = ""
        for message in self._messages:
            match message:
                case Text() if not self.silent:
                    if message.side != speaking:
                        speaking = message.side
                        _print(f"{NAMES[message.side]}:\n")
                    _print(message.text)
                case Answered():
                    answers[message.side] = message
                    self.conversation.answered(message.side, message.text)
                    self._print_end(message, spoke=message.side == speaking)
                case Done():
                    return answers
                case Refused() | Failed():
                    raise failure(message)
        raise UserError("The model's process ended.", f"See {self.chat.run.path / 'chat.log'}", ExitCode.FAILED)

    def _print_end(self, answer: Answered, spoke: bool) -> None:
        if not self.silent:
            _print("\n\n" if spoke else f"{NAMES[answer.side]}:\n\n")
        by_itself, sentence = end_text(answer)
        _say(f"{'' if by_itself else 'WARN  '}{NAMES[answer.side]} {sentence}")

    def _print_reference(self, question: Question) -> None:
        if question.reference:
            _print(f"in the data:\n{question.reference}\n\n")


def _print(text: str) -> None:
    """Print a piece of an answer to stdout."""
    cleaned = clean(text, ANSWER_CHARS, keep_newlines=True)
    print(encodable(cleaned, sys.stdout.encoding), end="", flush=True)


def _say(text: str) -> None:
    print(encodable(clean(text, keep_newlines=True), sys.stderr.encoding), file=sys.stderr, flush=True)
