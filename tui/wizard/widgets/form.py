"""A form made of the recipe's own fields: a line each, with its value, its origin, and its problem below.

It is one widget and draws its own lines: with a box for each field, moving from one to the next took a whole frame.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from fitune.tui.text import clean
from fitune.tui.wizard.draft import Draft, origin, set_field, shown
from fitune.tui.wizard.fields import Field
from fitune.tui.wizard.widgets.field_input import Changed, pasted
from fitune.tui.wizard.widgets.form_rows import Row, heading, shortened
from fitune.tui.wizard.widgets.line_edit import Line, edited, inserted

LABEL_COLUMNS, ORIGIN_COLUMNS, BOX_COLUMNS = 16, 10, 48
TYPABLE = {"whole": r"[0-9]*", "number": r"[0-9.,eE+\-]*"}
PARTS = (
    "label", "edited", "box", "empty", "hand", "selection", "cursor", "origin", "problem", "refused", "title", "about",
)  # fmt: skip
"""Of a line, each with a style of its own."""
TYPED = {"whole": "Only digits can be typed here", "number": "Only a number such as 2e-4 can be typed here"}
"""Why a character is refused."""


class Entered(Message):
    """Another field is in hand."""


class ModelsWanted(Message):
    """The user wants to choose the model from a list."""


class Form(ScrollView, can_focus=True):
    """One field is in hand: it takes the keys.

    After Entered and Changed the screen calls `redraw` or `show`, so that all a key changes is painted at once: had the
    form painted first, the rest would wait for the next frame.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"form--{part}" for part in PARTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,tab", "move(1)", show=False),
        Binding("up,shift+tab", "move(-1)", show=False),
        Binding("pagedown", "leap(1)", show=False),
        Binding("pageup", "leap(-1)", show=False),
        Binding("home,ctrl+home", "move_to(0)", show=False),
        Binding("end,ctrl+end", "move_to(-1)", show=False),
        Binding("right,space", "turn(1)", "Value", key_display="←→"),
        Binding("left", "turn(-1)", show=False),
        Binding("f2", "models", show=False),
    ]

    def __init__(self, draft: Draft, fields: Sequence[Field]) -> None:
        super().__init__()
        self.draft, self.fields = draft, tuple(fields)
        self.wrong: Mapping[str, str] = {}
        self.meanings: Mapping[str, str] = {}
        """Field name -> what it stands for when empty."""
        self.refused = ""
        """Why the last key was refused; empty if it was not."""
        self.headings = True
        self.at = 0
        self.line = self.untouched()
        self._rows: list[Row] = []

    @property
    def field(self) -> Field:
        """The field in hand."""
        return self.fields[self.at]

    def show(self, draft: Draft, wrong: Mapping[str, str], meanings: Mapping[str, str]) -> None:
        """Draw another draft, its problems by field, and what its empty fields stand for.

        What is typed stays as long as it means what the draft says.
        """
        self.draft, self.wrong, self.meanings = draft, wrong, meanings
        if set_field(draft, self.field.name, self.line.text).edits != draft.edits:
            self.line = self.untouched()
        self.redraw()

    def offer(self, fields: Sequence[Field], headings: bool = True, first: bool = False) -> None:
        """Offer other fields; the one in hand stays there if it is among them, unless the `first` is wanted.

        headings: name the groups.
        """
        name, self.fields, self.at, self.headings = self.field.name, tuple(fields), 0, headings
        stays = not first and any(field.name == name for field in fields)
        self.enter(name if stays else self.field.name)

    def enter(self, name: str) -> None:
        """Take a field in hand."""
        self.at = next(at for at, field in enumerate(self.fields) if field.name == name)
        self.line, self.refused = self.untouched(), ""
        self.post_message(Entered())
        self.refresh_bindings()

    def untouched(self) -> Line:
        """The text of the field in hand as the draft has it."""
        return Line(clean(shown(self.draft, self.field.name)), 0, True)

    # Keys

    def action_move(self, by: int) -> None:
        self.enter(self.fields[(self.at + by) % len(self.fields)].name)

    def action_leap(self, pages: int) -> None:
        """Move by a page of fields, and stop at the first and the last."""
        rows = max(1, self.size.height - 2)
        self.enter(self.fields[min(len(self.fields) - 1, max(0, self.at + pages * rows))].name)

    def action_move_to(self, at: int) -> None:
        self.enter(self.fields[at].name)

    def action_turn(self, by: int) -> None:
        choices, now = self.field.choices, self.line.text
        if self.field.kind == "choice":
            self.take(Line(choices[((choices.index(now) if now in choices else -1) + by) % len(choices)], 0, True))

    def action_models(self) -> None:
        self.post_message(ModelsWanted())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer says what the arrows do with the field in hand: in a text they move the cursor."""
        if action == "turn":
            return self.field.kind == "choice"
        return action != "models" or self.field.name == "model.id"

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Letters are for the field in hand; `?` asks for help everywhere, and `/` looks for a setting where nothing
        is being typed."""
        if self.field.kind == "choice" and character == " ":
            return False
        return bool(character and character.isprintable() and character != "?") and not self.finds(character)

    def finds(self, character: str | None) -> bool:
        """True if this is the key that looks for a setting, and no part of a text."""
        return character == "/" and (self.line.selected or self.field.kind != "text")

    def on_key(self, event: events.Key) -> None:
        if event.character == "?" or self.finds(event.character):
            return
        if event.character == " " and self.field.name == "model.id" and self.line.selected:
            event.stop()
            self.action_models()
        elif self.field.kind == "choice":
            self.turn_to(event)
        elif (line := edited(self.line, event.key, event.character)) is not None:
            event.stop()
            self.take(line)

    def turn_to(self, event: events.Key) -> None:
        """A letter chooses the next value that begins with it."""
        letter = event.character
        if not letter or not letter.isprintable() or letter == " ":
            return
        event.stop()
        choices, now = self.field.choices, self.line.text
        behind = choices.index(now) + 1 if now in choices else 0
        found = [each for each in (*choices[behind:], *choices[:behind]) if each.startswith(letter)]
        if found:
            self.take(Line(found[0], 0, True))
        else:
            self.refuse(f"No value begins with {letter}")

    def on_paste(self, event: events.Paste) -> None:
        if self.field.kind != "choice":
            self.take(inserted(self.line, pasted(event)))

    def take(self, line: Line) -> None:
        """The text of the field in hand, unless it can't be typed there."""
        if not re.fullmatch(TYPABLE.get(self.field.kind, ".*"), line.text):
            self.refuse(TYPED[self.field.kind])
            return
        is_new, self.line, self.refused = line.text != self.line.text, line, ""
        if is_new:
            self.post_message(Changed(self.field.name, line.text))
        else:
            self.redraw()

    def refuse(self, why: str) -> None:
        """Say why a key changed nothing, below the field."""
        self.refused = f"WARN {why}: {self.field.range}."
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
        region = Region(0, hand - len(self.heading(self.at)), 1, len(self.rows_of(self.at)))
        self.scroll_to_region(region, animate=False, force=True)

    def rows_of(self, at: int) -> list[Row]:
        """A field's line, below the heading if its group begins, and the lines of its problem."""
        field, in_hand = self.fields[at], at == self.at
        value = self.line.text if in_hand else clean(shown(self.draft, field.name))
        line = self.line if in_hand and field.kind != "choice" else None
        problem = clean(f"ERROR {self.wrong[field.name]}") if field.name in self.wrong else ""
        refused = self.refused if in_hand else ""
        told = textwrap.wrap(refused or problem, max(20, self.size.width - 3))
        meaning = clean(self.meanings.get(field.name, ""))
        is_empty = not value and bool(meaning)
        value = f"({meaning})" if is_empty else value
        first = Row(field, value, origin(self.draft, field.name), line, in_hand, is_empty)
        return [*self.heading(at), first, *(Row(field, problem=each) for each in told)]

    def heading(self, at: int) -> list[Row]:
        """The lines above a field with which a group begins."""
        return heading(self.fields, at, max(20, self.size.width - 1)) if self.headings else []

    def render_line(self, y: int) -> Strip:
        y += self.scroll_offset.y
        row = self._rows[y] if y < len(self._rows) else None
        width = self.scrollable_content_region.width
        return Strip(self.drawn(row, width) if row else []).adjust_cell_length(width, self.rich_style)

    def drawn(self, row: Row, columns: int) -> list[Segment]:
        """The parts of a row: label, box, origin; or a line of its problem."""
        if row.problem:
            return [self.part("refused" if self.refused and row.field is self.field else "problem", f"  {row.problem}")]
        if row.title or row.about:
            return [self.part("title", row.title), self.part("about", row.about)]
        is_edited = row.came_from == "edited"
        room = max(1, min(BOX_COLUMNS, columns - LABEL_COLUMNS - ORIGIN_COLUMNS))
        return [
            self.part("edited" if is_edited else "label", f"{row.field.label:<{LABEL_COLUMNS}}"),
            *(self.typed(row, row.line, room) if row.line else [self.box(row, room)]),
            self.part("origin", f" {'*' if is_edited else ' '} {row.came_from}"),
        ]

    def box(self, row: Row, columns: int) -> Segment:
        """A value that is not being typed."""
        value = shortened(row.value, columns)
        if row.field.kind == "choice":
            value = f"< {row.value} >" if self.app.has_class("-plain-glyphs") else f"‹ {row.value} ›"
        style = "hand" if row.in_hand else "empty" if row.is_empty else "box"
        return self.part(style, set_cell_size(value, columns))

    def typed(self, row: Row, line: Line, columns: int) -> list[Segment]:
        """The text that is being typed, as much as has room before the cursor and behind it."""
        if row.is_empty:
            meaning = set_cell_size(shortened(row.value, columns - 1), columns - 1)
            return [self.part("cursor", " "), self.part("hand", meaning)]
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
