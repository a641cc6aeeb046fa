"""Screens as one animated SVG. Each row of text is drawn once, and shown in every frame that has it: so it is small."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import Color
from rich.style import Style
from textual.app import App
from textual.strip import Strip

CELL_WIDTH, CELL_HEIGHT, BASELINE = 8, 17, 13
BACKGROUND, FOREGROUND = "#14181c", "#d5dbe0"
STYLE = """text{font:13px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre}
.f{visibility:hidden;animation-duration:%(total)gs;animation-iteration-count:infinite;animation-timing-function:step-end}
@media (prefers-reduced-motion){.f{animation:none}.f0{visibility:visible}}"""


class Piece(NamedTuple):
    """Cells of one row in one style."""

    column: int
    text: str
    colour: str
    background: str | None
    bold: bool
    dim: bool


Row = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A screen, what is said below it, and for how long it is shown."""

    rows: tuple[Row, ...]
    caption: str
    seconds: float


def rows_of(app: App[int]) -> tuple[Row, ...]:
    """The rows of the screen as it is drawn now."""
    return tuple(tuple(_pieces(strip)) for strip in app.screen._compositor.render_strips())


def _pieces(strip: Strip) -> Iterator[Piece]:
    column = 0
    for text, style, _ in strip:
        style = style or Style()
        fore, back = _hex(style.color) or FOREGROUND, _hex(style.bgcolor)
        if style.reverse:
            fore, back = back or BACKGROUND, fore
        back = None if back == BACKGROUND else back
        if text.strip() or back:
            yield Piece(column, text, fore, back, bool(style.bold), bool(style.dim))
        column += cell_len(text)


def _hex(colour: Color | None) -> str | None:
    return None if colour is None or colour.is_default else colour.get_truecolor().hex


def animated(frames: Sequence[Frame], columns: int) -> str:
    """The SVG: one group a frame, of which CSS shows one after the other."""
    total = sum(frame.seconds for frame in frames)
    height = max(len(frame.rows) for frame in frames)
    drawn: dict[Row, str] = {}
    shown, rules, began = [], [STYLE % {"total": round(total, 2)}], 0.0
    for number, frame in enumerate(frames):
        uses = []
        for y, row in enumerate(frame.rows):
            if row:
                name = drawn.setdefault(row, f"r{len(drawn)}")
                uses.append(f'<use href="#{name}" y="{y * CELL_HEIGHT}"/>')
        caption = (
            f'<text x="{CELL_WIDTH}" y="{(height + 1) * CELL_HEIGHT}" fill="#6fb3d2">{escape(frame.caption)}</text>'
        )
        shown.append(f'<g class="f f{number}">{"".join(uses)}{caption}</g>')
        ends = began + frame.seconds
        rules.append(_rule(number, began / total, ends / total))
        began = ends
    width, all_rows = columns * CELL_WIDTH, (height + 2) * CELL_HEIGHT
    symbols = "".join(f'<g id="{name}">{"".join(map(_piece, row))}</g>' for row, name in drawn.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {all_rows}" xml:space="preserve">'
        f"<style>{chr(10).join(rules)}</style><defs>{symbols}</defs>"
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>{"".join(shown)}</svg>\n'
    )


def _rule(number: int, begins: float, ends: float) -> str:
    """A frame is seen from one share of the whole to another."""
    before = "0%{visibility:hidden}" if begins else ""
    during = f"{100 * begins:.2f}%{{visibility:visible}}"
    after = f"{100 * ends:.2f}%,100%{{visibility:hidden}}" if ends < 1 else ""
    return f"@keyframes k{number}{{{before}{during}{after}}}.f{number}{{animation-name:k{number}}}"


def _piece(piece: Piece) -> str:
    x, y = piece.column * CELL_WIDTH, CELL_HEIGHT
    width = cell_len(piece.text) * CELL_WIDTH
    back = f'<rect x="{x}" width="{width}" height="{y}" fill="{piece.background}"/>' if piece.background else ""
    words = piece.text.strip()
    if not words:
        return back
    x += (len(piece.text) - len(piece.text.lstrip())) * CELL_WIDTH
    style = (' font-weight="bold"' if piece.bold else "") + (' opacity=".6"' if piece.dim else "")
    length = cell_len(words) * CELL_WIDTH
    text = f'<text x="{x}" y="{BASELINE}" textLength="{length}" fill="{piece.colour}"{style}>{escape(words)}</text>'
    return back + text
