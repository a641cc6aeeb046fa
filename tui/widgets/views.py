"""A row of view names, one of which is shown below; and foreign text with coloured status words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from fitune.tui.text import clean

MARK, PLAIN_MARK = "▸", ">"
LIMIT_CHARS = 20_000
STATUS_STYLES = {"OK": "bold $success", "WARN": "bold $warning", "ERROR": "bold $error"}


@dataclass
class ViewChosen(Message):
    """The user chose another view."""

    name: str


class ViewName(Static, can_focus=True):
    """The name of a view. When it gets the focus, its view is shown: Tab goes from one to the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.forward", "Next", key_display="enter"),
        Binding("left", "screen.turn(-1)", show=False),
        Binding("right", "screen.turn(1)", "Row", key_display="←→"),
        Binding("up", "screen.line(-1)", show=False),
        Binding("down", "screen.line(1)", "Scroll", key_display="↑ ↓"),
    ]

    def on_focus(self) -> None:
        self.post_message(ViewChosen(str(self.name)))


class ViewNames(Horizontal):
    """The names of the views; the one that is shown has a mark."""

    def __init__(self, names: Iterable[str]) -> None:
        hint = Static("Tab shows the next", classes="hint", markup=False)
        super().__init__(*(ViewName(name=name, markup=False) for name in names), hint)

    def mark(self, shown: str) -> None:
        """Mark a name."""
        mark = PLAIN_MARK if self.app.has_class("-plain-glyphs") else MARK
        for view_name in self.query(ViewName):
            is_shown = view_name.name == shown
            view_name.set_class(is_shown, "-shown")
            view_name.update(Content(f" {mark if is_shown else ' '} {view_name.name} "))


def with_status_words(text: str) -> Content:
    """Foreign text of several lines, cleaned; a status word at the beginning of a line gets its colour."""
    return Content("\n").join(_coloured(line) for line in clean(text, LIMIT_CHARS, keep_newlines=True).split("\n"))


def _coloured(line: str) -> Content:
    word, space, rest = line.partition(" ")
    return Content.styled(word, STATUS_STYLES[word]) + Content(space + rest) if word in STATUS_STYLES else Content(line)
