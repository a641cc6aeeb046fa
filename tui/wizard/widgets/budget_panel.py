"""The memory of the card as a stacked bar, with its parts, bounds and verdict in words. It decides nothing."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from fitune.core.forecast import Remedy
from fitune.tui.text import clean, gib, safe
from fitune.tui.wizard.forecast_text import (
    COLOURS,
    WORDS,
    DraftForecast,
    bounds,
    correction,
    grouped,
    pace_text,
    remedy_text,
)

SHADES, PLAIN_SHADES = "█▓▒░", "#=+-"
REST, PLAIN_REST = "·", "."
NAME_COLUMNS = 15


class BudgetPanel(Static):
    """Shows an forecast; redraws only when what it says has changed."""

    DEFAULT_CLASSES = "budget"

    def __init__(self, forecast: DraftForecast, brief: bool = False) -> None:
        super().__init__()
        self.forecast, self.brief = forecast, brief
        self.ways: Sequence[Remedy] = ()
        self._drawn = Content()

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def show(self, forecast: DraftForecast, ways: Sequence[Remedy]) -> None:
        """Draw another forecast, with the ways out of it."""
        self.forecast, self.ways = forecast, ways
        self.draw()

    def draw(self) -> None:
        """Draw what is known for the columns that there are."""
        columns = max(12, self.content_size.width or 28)
        plain, forecast = self.app.has_class("-plain-glyphs"), self.forecast
        draw_lines = brief_lines if self.brief else full_lines
        drawn = draw_lines(forecast, self.ways, columns, plain)
        if not drawn.is_same(self._drawn):
            self._drawn = drawn
            height = drawn.get_height({}, columns)
            self.update(drawn, layout=height != self.content_size.height)  # a layout costs more than all the rest


def full_lines(forecast: DraftForecast, ways: Sequence[Remedy], columns: int, plain: bool) -> Content:
    """Place, bar, parts, total, free memory, verdict, pace, and the remedies where they are needed."""
    found = forecast.budget
    lines = [Content.styled(clean(f"Memory of {forecast.site}", columns * 2), "bold")]
    if found is not None:
        parts = grouped(found.parts)
        shades = PLAIN_SHADES if plain else SHADES
        lines.append(Content.styled(bar(parts, found.total_bytes, forecast.free_bytes, columns, plain), "$primary"))
        lines += [
            Content.styled(shade, "$primary") + Content(f" {name:<{NAME_COLUMNS}}{gib(amount):>9}")
            for shade, (name, amount) in zip(shades, parts, strict=False)
        ]
        lines += [Content(f"Predicted {bounds(found)}"), Content(f"Free      {gib(forecast.free_bytes)}")]
        layers = f", {found.offloaded_layers} layers" if found.offloaded_layers else ""
        lines += [Content(f"Host RAM  {gib(found.host_bytes)}{layers}")] if found.host_bytes else []
        lines += [Content(f"Disk      {gib(found.disk_bytes)}")]
        lines.append(Content.styled(f"Rows      {'measured' if forecast.work else 'assumed full'}", "$text-muted"))
    if said := correction(forecast):
        lines.append(Content.styled(said, "$text-muted"))
    lines.append(verdict(forecast))
    if forecast.pace is not None and forecast.pace.tokens_per_s and not ways:
        lines.append(Content(f"Pace      {pace_text(forecast.pace)}"))
    lines += remedy_lines(ways)
    return Content("\n").join(lines)


def brief_lines(forecast: DraftForecast, ways: Sequence[Remedy], columns: int, plain: bool) -> Content:
    """The bar, one line below, and the remedies where they are needed."""
    found = forecast.budget
    if found is None:
        return verdict(forecast)
    drawn = Content.styled(
        bar(grouped(found.parts), found.total_bytes, forecast.free_bytes, columns, plain), "$primary"
    )
    word = Content.styled(WORDS[forecast.verdict], f"bold {COLOURS[forecast.verdict]}")
    said = Content(f" {forecast.short}. Predicted {bounds(found)}, free {gib(forecast.free_bytes)}")
    return Content("\n").join([drawn, word + said, *remedy_lines(ways)])


def verdict(forecast: DraftForecast) -> Content:
    """A status word, and the verdict as a sentence."""
    return Content.styled(WORDS[forecast.verdict], f"bold {COLOURS[forecast.verdict]}") + safe(f" {forecast.said}")


def bar(parts: list[tuple[str, int]], total_bytes: int, free_bytes: int | None, columns: int, plain: bool) -> str:
    """A stacked bar: a shade for each part, then the rest of what is free; over it, a `|` marks where free ends."""
    shades, rest = (PLAIN_SHADES, PLAIN_REST) if plain else (SHADES, REST)
    scale_bytes = max(total_bytes, free_bytes or 0)
    drawn, so_far_bytes = "", 0
    for shade, (_, amount) in zip(shades, parts, strict=False):
        so_far_bytes += amount
        drawn += shade * (round(columns * so_far_bytes / scale_bytes) - len(drawn))
    drawn += rest * (columns - len(drawn))
    if free_bytes is not None and total_bytes > free_bytes:
        end = min(columns - 1, round(columns * free_bytes / scale_bytes))
        drawn = f"{drawn[:end]}|{drawn[end + 1 :]}"
    return drawn


def remedy_lines(ways: Sequence[Remedy]) -> list[Content]:
    """Changes where it does not fit, with the key for each."""
    keys = ("^O", "F6", "F7")
    return [
        Content.styled(f"{key} ", "bold $primary") + Content(remedy_text(remedy))
        for key, remedy in zip(keys, ways, strict=False)
    ]
