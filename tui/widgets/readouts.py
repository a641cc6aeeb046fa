"""Small parts that show a run's numbers: a line that redraws only when its text changes, and bars of text."""

from textual.content import Content
from textual.widgets import Static


class Line(Static):
    """Text that is sent only when it differs from what is there: each redraw costs bytes on the wire."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, markup=False)
        self._said = Content()
        self.display = False

    def say(self, content: Content) -> None:
        """Show this; an empty content takes no room."""
        if not content.is_same(self._said):
            self._said = content
            self.update(content, layout=self.styles.is_auto_height)  # of one row: a layout costs more than the rest
        self.display = bool(content.plain)


def bar(share: float, columns: int, plain: bool) -> str:
    """A bar of text, full at a share of 1 or more."""
    filled = round(columns * min(1.0, max(0.0, share)))
    full, rest = ("#", "-") if plain else ("━", "─")
    return full * filled + rest * (columns - filled)
