"""Dialogs: a question to confirm, a line to type, one or several options to pick. Esc leaves each."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static

from fitune.core.errors import UserError
from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList

Option = tuple[str, str]
"""A word and its meaning; the word is the answer."""


class ConfirmDialog(ModalScreen[bool]):
    """A question before something that can't be undone. True only if the user chose the answer that is not safe.

    The safe answer has the focus, so a double Enter can't say yes.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Back"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, stay: str, go: str) -> None:
        super().__init__()
        self.question, self.stay, self.go = question, stay, go

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(safe(self.question, keep_newlines=True))
            with Horizontal():
                yield Button(safe(self.stay), id="stay", compact=True)
                yield Button(safe(self.go), id="go", compact=True)

    def on_mount(self) -> None:
        self.query_one("#stay").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "go")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class AskDialog(ModalScreen[str | None]):
    """One line to type; returns it, or None. `check` raises UserError for an answer that is not valid."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, value: str, check: Callable[[str], object], masked: bool = False) -> None:
        """masked: the answer is a secret, and not shown."""
        super().__init__()
        self.question, self.value, self.check, self.masked = question, value, check, masked

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(safe(self.question, keep_newlines=True))
            yield Input(self.value, compact=True, password=self.masked)
            yield Static(id="error", markup=False)
            yield Static("Enter takes it, Esc goes back.", classes="hint", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self.check(event.value)
        except UserError as error:
            self.query_one("#error", Static).update(safe(f"ERROR {error}"))
        else:
            self.dismiss(event.value)


class PickDialog(ModalScreen[str | None]):
    """Pick one option; the first is highlighted. None for Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, options: Sequence[Option]) -> None:
        super().__init__()
        self.question, self.options = question, options

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(safe(self.question, keep_newlines=True))
            yield ChoiceList(id="options")
            yield Static("Enter takes it, Esc goes back.", classes="hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(ChoiceList)
        options.add_options(aligned(self.options))
        options.highlighted = 0
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.options[event.option_index][0])


class MarkList(OptionList):
    """A list with marks: Space marks, Enter is done. The mark is a letter, since not everyone sees a colour."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "screen.mark", show=False),
        Binding("enter", "screen.done", show=False),
    ]


class PickSomeDialog(ModalScreen[list[str] | None]):
    """Pick at least one of the options; the first is already marked. None for Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, options: Sequence[Option]) -> None:
        super().__init__()
        self.question, self.options = question, options
        self.marked = {0}

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog"):
            yield Static(safe(self.question, keep_newlines=True))
            yield MarkList(id="options", compact=True, markup=False)
            yield Static("Space marks, Enter makes what is marked, Esc goes back.", classes="hint", markup=False)

    def on_mount(self) -> None:
        options = self.query_one(MarkList)
        options.add_options(self.lines())
        options.highlighted = 0
        options.focus()

    def lines(self) -> list[Content]:
        """The options with their marks."""
        marks = ("[x] " if index in self.marked else "[ ] " for index in range(len(self.options)))
        return [Content(mark) + text for mark, text in zip(marks, aligned(self.options), strict=True)]

    def action_mark(self) -> None:
        options = self.query_one(MarkList)
        index = options.highlighted or 0
        self.marked ^= {index}
        options.replace_option_prompt_at_index(index, self.lines()[index])

    def action_done(self) -> None:
        if self.marked:
            self.dismiss([self.options[index][0] for index in sorted(self.marked)])


def aligned(options: Sequence[Option]) -> list[Content]:
    """The options, with their meanings in a column."""
    columns = max(len(word) for word, _ in options) + 2
    return [safe(word.ljust(columns) + meaning) for word, meaning in options]
