"""A form made of the recipe's own fields: a line each, with its value, its origin, and its problem below.

It is one widget and draws its own lines: with a box for each field, moving from one to the next took a whole frame.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from fitune.tui.text import clean
from fitune.tui.wizard.draft import Draft, Origin, origin, set_field, shown
from fitune.tui.wizard.fields import Field
from fitune.tui.wizard.widgets.field_input import Changed, pasted
from fitune.tui.wizard.widgets.line_edit import Line, edited, inserted

LABEL_COLUMNS, ORIGIN_COLUMNS, BOX_COLUMNS = 16, 10, 48
TYPABLE = {"whole": r"[0-9]*", "number": r"[0-9.,eE+\-]*"}


class Entered(Message):
    """Another field is in hand."""


class Row(NamedTuple):
    """One line as it is drawn: a field, or a part of the problem of the field above."""

    field: Field
    value: str = ""
    came_from: Origin = "default"
    line: Line | None = None
    """Of the field in hand, where it is typed."""
    in_hand: bool = False
    problem: str = ""


class Form(ScrollView, can_focus=True):
    """One field is in hand: it takes the keys.

    After Entered and Changed the screen calls `redraw` or `show`, so that all a key changes is painted at once: had the
    form painted first, the rest would wait for the next frame.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"form--{part}" for part in ("label", "edited", "box", "hand", "selection", "cursor", "origin", "problem")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,tab", "move(1)", show=False),
        Binding("up,shift+tab", "move(-1)", show=False),
        Binding("right,space", "turn(1)", "Change", key_display="← →"),
        Binding("left", "turn(-1)", show=False),
    ]

    def __init__(self, draft: Draft, fields: Sequence[Field]) -> None:
        super().__init__()
        self.draft, self.fields = draft, tuple(fields)
        self.wrong: Mapping[str, str] = {}
        self.at = 0
        self.line = self.untouched()
        self._rows: list[Row] = []

    @property
    def field(self) -> Field:
        """The field in hand."""
        return self.fields[self.at]

    def show(self, draft: Draft, wrong: Mapping[str, str]) -> None:
        """Draw another draft and its problems by field. What is typed stays as long as it means what the draft says."""
        self.draft, self.wrong = draft, wrong
        if set_field(draft, self.field.name, self.line.text).edits != draft.edits:
            self.line = self.untouched()
        self.redraw()

    def offer(self, fields: Sequence[Field]) -> None:
        """Offer other fields; the one in hand stays there if it is among them."""
        name, self.fields, self.at = self.field.name, tuple(fields), 0
        self.enter(name if any(field.name == name for field in fields) else self.field.name)

    def enter(self, name: str) -> None:
        """Take a field in hand."""
        self.at = next(at for at, field in enumerate(self.fields) if field.name == name)
        self.line = self.untouched()
        self.post_message(Entered())

    def untouched(self) -> Line:
        """The text of the field in hand as the draft has it."""
        return Line(clean(shown(self.draft, self.field.name)), 0, True)

    # Keys

    def action_move(self, by: int) -> None:
        self.enter(self.fields[(self.at + by) % len(self.fields)].name)

    def action_turn(self, by: int) -> None:
        choices, now = self.field.choices, self.line.text
        if self.field.kind == "choice":
            self.take(Line(choices[((choices.index(now) if now in choices else -1) + by) % len(choices)], 0, True))

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Letters are for the field in hand; `?` asks for help everywhere: paste it where it is meant."""
        return self.field.kind != "choice" and bool(character and character.isprintable() and character != "?")

    def on_key(self, event: events.Key) -> None:
        if self.field.kind == "choice" or event.character == "?":
            return
        line = edited(self.line, event.key, event.character)
        if line is not None:
            event.stop()
            self.take(line)

    def on_paste(self, event: events.Paste) -> None:
        if self.field.kind != "choice":
            self.take(inserted(self.line, pasted(event)))

    def take(self, line: Line) -> None:
        """The text of the field in hand, unless it can't be typed there."""
        if not re.fullmatch(TYPABLE.get(self.field.kind, ".*"), line.text):
            return
        is_new, self.line = line.text != self.line.text, line
        if is_new:
            self.post_message(Changed(self.field.name, line.text))
        else:
            self.redraw()

    # Drawing

    def on_resize(self) -> None:
        self.redraw()

    def redraw(self) -> None:
        """Draw the rows that have changed, and have the one in hand in sight."""
        before, self._rows = self._rows, [row for at in range(len(self.fields)) for row in self.rows_of(at)]
        if len(before) != len(self._rows):
            self.virtual_size = Size(0, len(self._rows))  # no wider than it is shown
            self.refresh()
        for y, (old, new) in enumerate(zip(before, self._rows, strict=False)):
            if old != new:
                self.refresh_lines(y)
        hand = next(y for y, row in enumerate(self._rows) if row.in_hand)
        self.scroll_to_region(Region(0, hand, 1, len(self.rows_of(self.at))), animate=False, force=True)

    def rows_of(self, at: int) -> list[Row]:
        """A field's line, and the lines of its problem."""
        field, in_hand = self.fields[at], at == self.at
        value = self.line.text if in_hand else clean(shown(self.draft, field.name))
        line = self.line if in_hand and field.kind != "choice" else None
        problem = clean(f"ERROR {self.wrong[field.name]}") if field.name in self.wrong else ""
        told = textwrap.wrap(problem, max(20, self.size.width - 3)) if problem else []
        first = Row(field, value, origin(self.draft, field.name), line, in_hand)
        return [first, *(Row(field, problem=each) for each in told)]

    def render_line(self, y: int) -> Strip:
        y += self.scroll_offset.y
        row = self._rows[y] if y < len(self._rows) else None
        width = self.scrollable_content_region.width
        return Strip(self.drawn(row, width) if row else []).adjust_cell_length(width, self.rich_style)

    def drawn(self, row: Row, columns: int) -> list[Segment]:
        """The parts of a row: label, box, origin; or a line of its problem."""
        if row.problem:
            return [self.part("problem", f"  {row.problem}")]
        is_edited = row.came_from == "edited"
        room = max(1, min(BOX_COLUMNS, columns - LABEL_COLUMNS - ORIGIN_COLUMNS))
        return [
            self.part("edited" if is_edited else "label", f"{row.field.label:<{LABEL_COLUMNS}}"),
            *(self.typed(row.line, room) if row.line else [self.box(row, room)]),
            self.part("origin", f" {'*' if is_edited else ' '} {row.came_from}"),
        ]

    def box(self, row: Row, columns: int) -> Segment:
        """A value that is not being typed."""
        value = shortened(row.value, columns)
        if row.field.kind == "choice":
            value = f"< {row.value} >" if self.app.has_class("-plain-glyphs") else f"‹ {row.value} ›"
        return self.part("hand" if row.in_hand else "box", set_cell_size(value, columns))

    def typed(self, line: Line, columns: int) -> list[Segment]:
        """The text that is being typed, as much as has room before the cursor and behind it."""
        if line.selected:
            text = shortened(line.text, columns)
            rest = self.part("hand", " " * (columns - cell_len(text)))
            return [self.part("cursor", text[:1] or " "), self.part("selection", text[1:]), rest]
        start = next(at for at in range(line.cursor + 1) if cell_len(line.text[at : line.cursor]) < columns)
        before, under = line.text[start : line.cursor], line.text[line.cursor :][:1] or " "
        behind = set_cell_size(line.text[line.cursor + 1 :], columns - cell_len(before + under))
        return [self.part("hand", before), self.part("cursor", under), self.part("hand", behind)]

    def part(self, name: str, text: str) -> Segment:
        return Segment(text, self.get_component_rich_style(f"form--{name}"))


def shortened(text: str, columns: int) -> str:
    """A value in so many columns: one that is too long goes without its owner or folder, and then has its end cut."""
    if cell_len(text) > columns:
        text = text.rpartition("/")[2] or text
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"
