"""One short question in a box; Enter answers, Esc leaves it."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from fitune.core.errors import UserError
from fitune.tui.text import safe


class Ask(ModalScreen[str | None]):
    """The answer, or None. `check` raises UserError for an answer that won't do."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, value: str, check: Callable[[str], object], masked: bool = False) -> None:
        """masked: what is typed is a secret, and not shown."""
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
