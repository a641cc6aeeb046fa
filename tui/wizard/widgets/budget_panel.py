"""The memory of the card as a stacked bar, with its parts, bounds and verdict in words. It decides nothing."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from fitune.core.forecast import Remedy
from fitune.tui.wizard.forecast_text import DraftForecast
from fitune.tui.wizard.memory.panel_text import brief_lines, full_lines


class BudgetPanel(Static):
    """Shows a forecast; redraws only when what it says has changed."""

    DEFAULT_CLASSES = "budget"

    def __init__(self, forecast: DraftForecast, brief: bool = False) -> None:
        super().__init__()
        self.forecast, self.brief = forecast, brief
        self.ways: Sequence[Remedy] = ()
        self.note = ""
        self._drawn = Content()

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def show(self, forecast: DraftForecast, ways: Sequence[Remedy], note: str = "") -> None:
        """Draw another forecast, with the ways out of it and what the search for the best plan has found."""
        self.forecast, self.ways, self.note = forecast, ways, note
        self.draw()

    def draw(self) -> None:
        """Draw what is known for the columns and lines that there are."""
        columns, rows = max(12, self.content_size.width or 28), self.content_size.height or 100
        plain, forecast = self.app.has_class("-plain-glyphs"), self.forecast
        if self.brief:
            drawn = brief_lines(forecast, self.ways, columns, plain)
        else:
            drawn = full_lines(forecast, self.ways, columns, rows, plain, self.note)
        if not drawn.is_same(self._drawn):
            self._drawn = drawn
            is_higher = self.brief and drawn.get_height({}, columns) != self.content_size.height
            self.update(drawn, layout=is_higher)  # a layout costs more than all the rest
