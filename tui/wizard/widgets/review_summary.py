"""The lines of the review, each behind its label, and its button."""

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Button

from fitune.core.errors import UserError
from fitune.tui.text import clean, safe
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.models.weights import Weights
from fitune.tui.wizard.review_text import lines

LABEL_COLUMNS = 9
START, BLOCKED = "Start training", "Start is blocked: see ERROR above"


class Start(Button):
    """The button, with its key in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "press", "Start", key_display="enter")]

    def __init__(self) -> None:
        super().__init__(START, compact=True)

    def block(self, blocked: bool) -> None:
        """Say whether something is in the way."""
        self.set_class(blocked, "-blocked")
        self.label = BLOCKED if blocked else START


def summary(draft: Draft, weights: Weights | None) -> Table | Content:
    """The review's lines behind their labels, or the problems where there is no review."""
    try:
        told = lines(draft, weights)
    except UserError as error:
        return safe(str(error), keep_newlines=True)
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=LABEL_COLUMNS, style="dim")
    table.add_column(ratio=1, overflow="fold")
    for line in told:
        table.add_row(line.label, Text(clean(line.text)))
    return table
