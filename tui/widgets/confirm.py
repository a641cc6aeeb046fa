"""A question before something that can't be undone. The safe answer has the focus, and a double Enter can't say yes."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from fitune.tui.text import safe


class Confirm(ModalScreen[bool]):
    """True only if the user chose the answer that is not safe."""

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
