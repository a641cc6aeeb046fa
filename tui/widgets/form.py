"""A form made of the recipe's own fields: a row each, with its value, its origin, and its problem below."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.draft import Draft, origin, shown
from tui.fields import Field
from tui.text import clean, safe

TYPABLE = {"whole": r"[0-9]*", "number": r"[0-9.,eE+\-]*"}


@dataclass
class Changed(Message):
    """A field's text was changed by the user."""

    name: str
    text: str


@dataclass
class Entered(Message):
    """A field got the focus."""

    name: str


class FieldInput(Input):
    """A box to type in. `?` asks for help in every box: paste it where it is meant."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Next")]

    def __init__(self, field: Field, text: str, suggester: Suggester | None = None) -> None:
        typable = TYPABLE.get(field.kind)
        super().__init__(clean(text), restrict=typable, compact=True, name=field.name, suggester=suggester)

    async def _on_key(self, event: events.Key) -> None:
        if event.character == "?":
            event.stop()
            event.prevent_default()
            await self.run_action("screen.help")
        else:
            await super()._on_key(event)

    def _on_paste(self, event: events.Paste) -> None:
        """Only the first line, and nothing a terminal would obey: a pasted key must not press itself."""
        event.stop()
        event.prevent_default()
        first_line = next(iter(event.text.splitlines()), "")
        self.replace("".join(character for character in first_line if character.isprintable()), *self.selection)

    def on_focus(self) -> None:
        self.post_message(Entered(self.name or ""))

    def on_mount(self) -> None:
        self.cursor_position = 0

    def on_blur(self) -> None:
        self.cursor_position = 0  # shows the beginning of a long value

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Changed(self.name or "", event.value))


class FieldChoice(Widget, can_focus=True):
    """One of a few values: Left, Right or Space moves on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", "Change", key_display="← →"),
        Binding("left", "turn(-1)", show=False),
    ]

    def __init__(self, field: Field, text: str) -> None:
        super().__init__(name=field.name)
        self.choices, self.value = field.choices, text

    def render(self) -> Content:
        return Content(
            f"‹ {clean(self.value)} ›" if not self.app.has_class("-plain-glyphs") else f"< {clean(self.value)} >"
        )

    def on_focus(self) -> None:
        self.post_message(Entered(self.name or ""))

    def action_turn(self, by: int) -> None:
        at = self.choices.index(self.value) if self.value in self.choices else -1
        self.value = self.choices[(at + by) % len(self.choices)]
        self.refresh()
        self.post_message(Changed(self.name or "", self.value))


class FieldRow(Vertical):
    """Mark, label, value, origin; and the problem, if there is one."""

    def __init__(self, field: Field, draft: Draft) -> None:
        super().__init__()
        self.field, self.draft = field, draft
        self._said = ("", "")

    def compose(self) -> ComposeResult:
        text = shown(self.draft, self.field.name)
        with Horizontal():
            yield Static(self.field.label, classes="label", markup=False)
            yield FieldChoice(self.field, text) if self.field.kind == "choice" else FieldInput(self.field, text)
            yield Static(classes="origin", markup=False)
        yield Static(classes="problem", markup=False)

    def on_mount(self) -> None:
        self.show(self.draft, "")

    @property
    def control(self) -> FieldInput | FieldChoice:
        """The part that takes keys."""
        return self.query_one(FieldChoice) if self.field.kind == "choice" else self.query_one(FieldInput)

    def show(self, draft: Draft, problem: str) -> None:
        """Origin and problem of the field in this draft."""
        came_from = origin(draft, self.field.name)
        if self._said == (came_from, problem):  # an update costs a new layout
            return
        self._said = (came_from, problem)
        self.set_class(came_from == "edited", "-edited")
        self.set_class(bool(problem), "-wrong")
        self.query_one(".origin", Static).update(f"{'*' if came_from == 'edited' else ' '} {came_from}")
        self.query_one(".problem", Static).update(safe(f"ERROR {problem}" if problem else ""))

    def put(self, text: str) -> None:
        """Set the value as if it had been there from the start."""
        control = self.control
        with self.prevent(Input.Changed):
            control.value = clean(text)
        control.refresh()
