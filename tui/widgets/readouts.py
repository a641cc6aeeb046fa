"""Readouts of a run's numbers: text that is redrawn only when it changes, and bars of text."""

from textual.content import Content
from textual.widgets import Static

OVER = 1.05
"""A share above this is more than the budget's upper bound (docs/budget.md) allows."""


class Readout(Static):
    """Text that is redrawn only when it changes: each redraw costs bytes on the wire."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, markup=False)
        self._shown = Content()
        self.display = False

    def say(self, content: Content) -> None:
        """Show this content; an empty one takes no space."""
        if not content.is_same(self._shown):
            self._shown = content
            self.update(content, layout=self.styles.is_auto_height)  # of one row: a layout costs more than the rest
        self.display = bool(content.plain)


def bar(share: float, columns: int, plain: bool) -> Content:
    """A bar of text, full at a share of 1; what is left is dim, and a share above 1 is drawn as an error."""
    filled = round(columns * min(1.0, max(0.0, share)))
    full, rest = ("#", "-") if plain else ("━", "─")
    done = Content.styled(full * filled, "$error" if share > OVER else "$primary")
    return done + Content.styled(rest * (columns - filled), "dim")
