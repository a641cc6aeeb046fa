"""Prompts in plain lines: questions to stderr, answers from stdin, in the terminal's encoding."""

import sys
from collections.abc import Sequence

from fitune.tui.text import clean, encodable, shows_unicode, wrapped
from fitune.tui.wizard.draft import Draft


class GoBack(Exception):
    """The user wants to go back. Has the current draft if it was changed."""

    def __init__(self, draft: Draft | None = None) -> None:
        super().__init__()
        self.draft = draft


class NeedHelp(Exception):
    """The user asks for help. Has the current draft if it was changed."""

    def __init__(self, topic: str = "", draft: Draft | None = None) -> None:
        super().__init__()
        self.topic, self.draft = topic, draft


class Prompter:
    """Prints lines and asks questions."""

    @property
    def unicode(self) -> bool:
        """True if the terminal can show more than ASCII."""
        return shows_unicode(sys.stderr.encoding)

    def say(self, text: str = "") -> None:
        """Print one or more lines."""
        shown = wrapped(clean(text, 20_000, keep_newlines=True), sys.stderr)
        print(encodable(shown, sys.stderr.encoding), file=sys.stderr)

    def ask(self, question: str, default: str = "", topic: str = "", draft: Draft | None = None) -> str:
        """Ask a question and return the answer, or the default for an empty one.

        Raises GoBack for `b` and NeedHelp for `?`, each with `draft`; EOFError at the end of the input.
        """
        shown = f" [{default}]" if default else ""
        prompt = encodable(clean(f"{question}{shown}: "), sys.stderr.encoding)
        print(prompt, end="", file=sys.stderr, flush=True)
        answer = input().strip()
        if answer == "b":
            raise GoBack(draft)
        if answer == "?":
            raise NeedHelp(topic, draft)
        return answer or default

    def choose(self, question: str, options: Sequence[str], default: int, draft: Draft | None = None) -> int | str:
        """Ask for one of the options and return its index; for any other answer its text."""
        for number, option in enumerate(options, 1):
            self.say(f"{number:>3}. {option}")
        answer = self.ask(question, str(default + 1), draft=draft)
        return int(answer) - 1 if answer.isdecimal() and 0 < int(answer) <= len(options) else answer
