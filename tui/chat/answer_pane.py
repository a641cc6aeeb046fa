"""The questions and answers of one side of a chat, in a pane of its own."""

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from fitune.core.jobs.messages.chat import Side
from fitune.tui.chat.text import ANSWER_CHARS, TITLES
from fitune.tui.text import clean, safe

QUESTION_CHARS = 150
"""Characters of a question that are repeated above its answers: 24 rows have no room for more."""


class AnswerPane(VerticalScroll):
    """The questions and answers of one side."""

    can_focus = False

    def __init__(self, side: Side) -> None:
        super().__init__(id=side)
        self.border_title = TITLES[side]
        self._question = self._answer = ""
        self._end = Content()
        self._drawn = True

    def begin(self, question: str) -> None:
        """Begin a question, without an answer yet."""
        self._question, self._answer, self._end, self._drawn = question, "", Content(), False
        self.mount(Static(markup=False))
        self.scroll_end(animate=False)

    def write(self, text: str) -> None:
        """Append a piece of the answer."""
        self._answer, self._drawn = self._answer + text, False

    def end(self, end: Content) -> None:
        """Show how the answer ended."""
        self._end, self._drawn = end, False
        self.draw()

    def draw(self) -> None:
        """Draw the text that has come since the last redraw."""
        if self._drawn or not self.children:
            return
        self._drawn = True
        question = Content.styled(f"> {clean(' '.join(self._question.split()), QUESTION_CHARS)}", "bold")
        parts = [question, safe(self._answer.strip(), ANSWER_CHARS, keep_newlines=True), self._end]
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self.query(Static).last().update(Content("\n").join(part for part in parts if part))
        if at_end:  # a user who has scrolled back stays there
            self.scroll_end(animate=False)

    def clear(self, opening: str) -> None:
        """Empty the pane, except for the text before the first question."""
        self.remove_children()
        self._drawn = True
        if opening:
            self.mount(Static(Content.styled(clean(opening, keep_newlines=True), "dim")))
