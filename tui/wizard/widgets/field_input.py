"""A box to type the value of one field in."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from fitune.tui.data.paths import complete_path
from fitune.tui.text import clean
from fitune.tui.wizard.fields import Field


@dataclass
class Changed(Message):
    """A field's text was changed by the user."""

    name: str
    text: str


class FieldInput(Input):
    """`?` asks for help in every box: paste it where it is meant."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Next", key_display="enter")]

    def __init__(self, field: Field, text: str, suggester: Suggester | None = None) -> None:
        super().__init__(clean(text), compact=True, name=field.name, suggester=suggester)

    async def _on_key(self, event: events.Key) -> None:
        if event.character == "?":
            event.stop()
            event.prevent_default()
            await self.run_action("screen.help")
        else:
            await super()._on_key(event)

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.replace(pasted(event), *self.selection)

    def on_mount(self) -> None:
        self.cursor_position = 0

    def on_blur(self) -> None:
        self.cursor_position = 0  # shows the beginning of a long value

    def on_input_changed(self, event: Input.Changed) -> None:
        self.post_message(Changed(self.name or "", event.value))


def pasted(event: events.Paste) -> str:
    """The first line, and nothing a terminal would obey: a pasted key must not press itself."""
    first_line = next(iter(event.text.splitlines()), "")
    return "".join(character for character in first_line if character.isprintable())


class PathSuggester(Suggester):
    """Completes a path; Right takes it."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return complete_path(value) if value else None
