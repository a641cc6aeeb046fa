"""The lines of the review, each behind its label."""

from rich.table import Table
from rich.text import Text
from textual.content import Content

from fitune.core.errors import UserError
from fitune.tui.text import clean, safe
from fitune.tui.wizard.draft import Draft
from fitune.tui.wizard.models.weights import Weights
from fitune.tui.wizard.review_text import lines

LABEL_COLUMNS = 9


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
