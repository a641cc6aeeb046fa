"""A box to choose from: one thing, or several."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from fitune.tui.text import safe
from fitune.tui.widgets.choices import Choices

Option = tuple[str, str]
"""A word and what it stands for; the word is the answer."""


class Pick(ModalScreen[str | None]):
    """One of some options; the first is proposed. None for Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, options: Sequence[Option]) -> None:
        super().__init__()
        self.question, self.options = question, options

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(safe(self.question, keep_newlines=True))
            yield Choices(id="options")
            yield Static("Enter takes it, Esc goes back.", classes="hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(Choices)
        options.add_options(lined_up(self.options))
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.options[event.option_index][0])


class Marks(OptionList):
    """Space marks, Enter is done. The mark is a letter: a colour alone is not seen by everyone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "screen.mark", show=False),
        Binding("enter", "screen.done", show=False),
    ]


class PickSome(ModalScreen[list[str] | None]):
    """Some of the options, at least one; the first is marked already. None for Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, options: Sequence[Option]) -> None:
        super().__init__()
        self.question, self.options = question, options
        self.marked = {0}

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(safe(self.question, keep_newlines=True))
            yield Marks(id="options", compact=True, markup=False)
            yield Static("Space marks, Enter makes what is marked, Esc goes back.", classes="hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(Marks)
        options.add_options(self.lines())
        options.highlighted = 0
        options.focus()

    def lines(self) -> list[Content]:
        """The options with their marks."""
        marks = ("[x] " if index in self.marked else "[ ] " for index in range(len(self.options)))
        return [Content(mark) + text for mark, text in zip(marks, lined_up(self.options), strict=True)]

    def action_mark(self) -> None:
        options = self.query_one(Marks)
        index = options.highlighted or 0
        self.marked ^= {index}
        options.replace_option_prompt_at_index(index, self.lines()[index])

    def action_done(self) -> None:
        if self.marked:
            self.dismiss([self.options[index][0] for index in sorted(self.marked)])


def lined_up(options: Sequence[Option]) -> list[Content]:
    """The options, with what they stand for in a column."""
    columns = max(len(word) for word, _ in options) + 2
    return [safe(word.ljust(columns) + told) for word, told in options]
