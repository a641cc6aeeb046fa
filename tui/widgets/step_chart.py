"""A chart of one number over steps with labelled axes, as a braille line of two points a column, or ASCII stars."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from fitune.tui.text import count, fitted, number

Points = Sequence[tuple[int, float]]
Role = Literal["line", "held-out", "axis", "title"]
Row = list[tuple[str, Role]]
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Unicode's braille bits, by row and column of a cell
MIN_COLUMNS, MIN_ROWS = 24, 6
FEW_ROWS = 6
"""With so few rows each may have a label: else the scale would be much longer than the curve."""


class Glyphs(NamedTuple):
    """The characters of the chart."""

    side: str
    tick: str
    corner: str
    floor: str
    held_out: str
    train: str


FANCY = Glyphs("│", "┤", "└", "─", "●", "⠤")
PLAIN = Glyphs("|", "+", "+", "-", "o", "*")


class Axis(NamedTuple):
    """The axis of the loss, over a number of terminal rows."""

    bottom: float
    top: float
    rows: int
    labels: dict[int, str]
    """Labels by row; the top row is 0."""

    def row_of(self, loss: float, finer: int = 1) -> int:
        """The row of a value, if each row is divided into `finer` rows."""
        last = self.rows * finer - 1
        # A label is the value at the middle of its row.
        middle = (finer - 1) / 2
        share = (self.top - loss) / (self.top - self.bottom)
        return min(last, max(0, round(middle + share * (self.rows - 1) * finer)))


class StepChart(Widget):
    """The chart as a widget. It redraws only the rows that changed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"chart--axis", "chart--held-out", "chart--title"}

    def __init__(self, id: str, title: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._title = title
        self._train: Points = ()
        self._held_out: Points = ()
        self._last_step: int | None = None
        self._unit = "step"
        self._rows: list[Row] = []

    def show(
        self,
        train: Points,
        held_out: Points,
        last_step: int | None = None,
        title: str | None = None,
        unit: str = "step",
    ) -> None:
        """Draw these points of (step, value), with room up to the last step if it is known.

        title: another one than before. unit: of the horizontal axis.
        """
        self._train, self._held_out, self._last_step = train, held_out, last_step
        self._title, self._unit = title or self._title, unit
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        before, (columns, rows) = self._rows, self.content_size
        plain = self.app.has_class("-plain-glyphs")
        self._rows = draw(self._train, self._held_out, columns, rows, plain, self._last_step, self._title, self._unit)
        if len(before) != len(self._rows):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if old != new:
                self.refresh(Region(0, y, columns, 1))

    def render_line(self, y: int) -> Strip:
        styles: dict[Role, Style] = {
            "line": self.rich_style,
            "axis": self.get_component_rich_style("chart--axis"),
            "held-out": self.get_component_rich_style("chart--held-out"),
            "title": self.get_component_rich_style("chart--title"),
        }
        row = self._rows[y] if y < len(self._rows) else []
        strip = Strip([Segment(text, styles[role]) for text, role in row])
        return strip.adjust_cell_length(self.content_size.width, self.rich_style)


def draw(
    train: Points,
    held_out: Points,
    columns: int,
    rows: int,
    plain: bool,
    last_step: int | None = None,
    title: str = "loss",
    unit: str = "step",
) -> list[Row]:
    """The chart as `rows` rows of (text, role) runs: legend, plot with its scale, steps. Empty where it doesn't fit.

    last_step: the end of the horizontal axis, so that an unfinished run shows how far it is; None ends at the newest.
    """
    if columns < MIN_COLUMNS or rows < MIN_ROWS:
        return []
    if not train:
        empty: list[Row] = [[(fitted(f"no {title} yet", columns), "axis")]]
        return empty + [[] for _ in range(rows - 1)]
    glyphs = PLAIN if plain else FANCY
    first, last = train[0][0], max(train[-1][0], train[0][0] + 1, last_step or 0)
    held_out = [(step, loss) for step, loss in held_out if first <= step <= last]
    values = [loss for _, loss in (*bucket(train, columns), *held_out)]
    axis = scale(min(values), max(values), rows - 3)
    margin = max(map(len, axis.labels.values())) + 1
    width = columns - margin - 1
    if width < 1:  # a loss of so many digits
        return []
    grid = _line(bucket(train, width), (first, last), axis, width, plain)
    marks = {(axis.row_of(loss), round((step - first) / (last - first) * (width - 1))) for step, loss in held_out}
    drawn: list[Row] = [_legend(title, glyphs, margin, columns, bool(held_out))]
    for y, line in enumerate(grid):
        side = glyphs.tick if y in axis.labels else glyphs.side
        drawn.append([(f"{axis.labels.get(y, ''):>{margin - 1}} {side}", "axis"), *_with_marks(line, y, marks, glyphs)])
    drawn.append([(" " * margin + glyphs.corner + glyphs.floor * width, "axis")])
    drawn.append([(" " * (margin + 1) + _steps(first, last if last_step else train[-1][0], width, unit), "axis")])
    return drawn


def bucket(points: Points, columns: int) -> list[tuple[float, float]]:
    """At most two points a column, evenly spread over the steps, each the mean of its bucket."""
    if len(points) <= 2 * columns:
        return list(points)
    first, last = points[0][0], points[-1][0]
    sums: dict[int, list[float]] = {}
    for step, loss in points:
        index = min(2 * columns - 1, int((step - first) / (last - first) * 2 * columns))
        entry = sums.setdefault(index, [0.0, 0.0, 0.0])
        entry[0], entry[1], entry[2] = entry[0] + step, entry[1] + loss, entry[2] + 1
    return [(steps / n, losses / n) for _, (steps, losses, n) in sorted(sums.items())]


def scale(low: float, high: float, rows: int) -> Axis:
    """The axis on which these values use most of the height, with round labels at equal distances."""
    span = max(high - low, abs(high) * 0.02, 0.01 if abs(high) > 0.01 else 1e-9)  # a learning rate is far below a loss
    power = 10 ** math.floor(math.log10(span))
    gaps = [factor * power for factor in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10)]
    for rows_at_least in (2, 1) if rows > FEW_ROWS else (1,):
        axes = [axis for gap in gaps if (axis := _axis(low, low + span, gap, rows, rows_at_least))]
        if axes:
            return min(axes, key=lambda axis: axis.top - axis.bottom)
    return Axis(low, low + span, rows, {0: number(low + span, 2), rows - 1: number(low, 2)})


def _axis(low: float, high: float, gap: float, rows: int, rows_at_least: int) -> Axis | None:
    """The axis with a label at each multiple of `gap`; None if they are closer than `rows_at_least`."""
    bottom = math.floor(low / gap + 1e-9)
    gaps = max(1, math.ceil(high / gap - 1e-9) - bottom)
    rows_each = (rows - 1) // gaps
    if rows_each < rows_at_least:
        return None
    digits = next((n for n in range(12) if round(gap * 10**n) > 0 and abs(gap * 10**n - round(gap * 10**n)) < 1e-6), 12)
    labels = {rows - 1 - n * rows_each: f"{(bottom + n) * gap:.{digits}f}" for n in range(gaps + 1)}
    return Axis(bottom * gap, bottom * gap + gap * (rows - 1) / rows_each, rows, labels)


def _line(points: list[tuple[float, float]], steps: tuple[int, int], axis: Axis, width: int, plain: bool) -> list[str]:
    """The curve as rows of text: dots are joined, so that a steep fall is a line too."""
    fine_columns, finer = (width, 1) if plain else (2 * width, 4)
    dots: set[tuple[int, int]] = set()
    previous: int | None = None
    for x, loss in _along(points, steps, fine_columns):
        y = axis.row_of(loss, finer)
        reach = y if previous is None else previous + (y > previous) - (y < previous)
        dots.update((dot_y, x) for dot_y in range(min(y, reach), max(y, reach) + 1))
        previous = y
    if plain:
        return ["".join("*" if (y, x) in dots else " " for x in range(width)) for y in range(axis.rows)]
    cells: dict[tuple[int, int], int] = {}
    for y, x in dots:
        cell = (y // 4, x // 2)
        cells[cell] = cells.get(cell, 0) | _DOTS[y % 4][x % 2]
    return [
        "".join(chr(0x2800 + cells[y, x]) if (y, x) in cells else " " for x in range(width)) for y in range(axis.rows)
    ]


def _along(points: list[tuple[float, float]], steps: tuple[int, int], columns: int) -> list[tuple[int, float]]:
    """(column, loss) for each column from the first point to the last, between points on a straight line."""
    first, last = steps
    placed = [((step - first) / (last - first) * (columns - 1), loss) for step, loss in points]
    line, at = [], 0
    for x in range(round(placed[0][0]), round(placed[-1][0]) + 1):
        while at + 1 < len(placed) and placed[at + 1][0] <= x:
            at += 1
        (x0, loss0), (x1, loss1) = placed[at], placed[min(at + 1, len(placed) - 1)]
        share = min(1.0, max(0.0, (x - x0) / (x1 - x0))) if x1 > x0 else 0.0
        line.append((x, loss0 + (loss1 - loss0) * share))
    return line


def _legend(title: str, glyphs: Glyphs, margin: int, columns: int, held_out: bool) -> Row:
    """The title; with held-out values also what each mark stands for, where it has room."""
    named = fitted(title.rjust(margin), columns)
    marks: Row = [(f"   {glyphs.train * 2} training", "line"), (f"   {glyphs.held_out} held-out", "held-out")]
    fits = len(named) + sum(len(text) for text, _ in marks) <= columns
    return [(named, "title"), *(marks if held_out and fits else [])]


def _with_marks(line: str, y: int, marks: set[tuple[int, int]], glyphs: Glyphs) -> Row:
    row: Row = []
    at = 0
    for x in sorted(column for row_of_mark, column in marks if row_of_mark == y):
        row += [(line[at:x], "line"), (glyphs.held_out, "held-out")]
        at = x + 1
    return [*row, (line[at:], "line")]


def _steps(first: int, last: int, width: int, unit: str) -> str:
    if first == last:
        return f"{unit} {count(first)}"
    left, middle, right = count(first), count((first + last) // 2), f"{unit} {count(last)}"
    gap = width - len(left) - len(right)
    return left + (middle.center(gap) if gap >= len(middle) + 4 and last - first > 1 else " " * gap) + right
