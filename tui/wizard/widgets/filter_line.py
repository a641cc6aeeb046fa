"""A line to find something by: what is typed keeps only what holds all of its words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from fitune.tui.wizard.widgets.field_input import pasted


@dataclass
class Filtered(Message):
    """Other words were typed; none for all that there is."""

    words: str


class FilterLeft(Message):
    """The keys are for what was found, from now on."""


class FilterInput(Input):
    """Enter and the arrows lead to what was found, Esc shows all again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down,tab,up,shift+tab", "leave", "To the list", key_display="enter"),
        Binding("escape", "close", "Show all"),
    ]

    def action_leave(self) -> None:
        """To what was found; without a word there is nothing to find."""
        if self.value.strip():
            self.post_message(FilterLeft())
        else:
            self.action_close()

    def action_close(self) -> None:
        self.query_ancestor(FilterLine).close()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Filtered(event.value))

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.replace(pasted(event), *self.selection)


class FilterLine(Horizontal):
    """Out of sight until `open`."""

    DEFAULT_CSS = """
    FilterLine { height: 1; margin: 0 0 1 0; display: none; }
    FilterLine Static { width: auto; }
    FilterLine FilterInput { width: 1fr; height: 1; }
    """

    def __init__(self, placeholder: str) -> None:
        super().__init__()
        self.placeholder = placeholder

    def compose(self) -> Iterable[Widget]:
        yield Static("Filter ", markup=False)
        yield FilterInput(placeholder=self.placeholder, compact=True)
        yield Static(id="found", markup=False)

    @property
    def words(self) -> str:
        """What is typed; empty while the line is out of sight."""
        return self.query_one(FilterInput).value.strip()

    def open(self) -> None:
        """Show the line, to type in it."""
        self.display = True
        self.query_one(FilterInput).focus()

    def close(self) -> None:
        """Hide the line: there is all again."""
        self.display = False
        with self.prevent(Input.Changed):
            self.query_one(FilterInput).value = ""
        self.post_message(Filtered(""))
        self.post_message(FilterLeft())

    def tell(self, found: int, of: int) -> None:
        """Say how many were found."""
        self.query_one("#found", Static).update(f" {found} of {of}")
