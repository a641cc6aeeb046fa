"""The screen of a help page: sections with heading and text. Esc closes it."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from fitune.tui.text import safe


class HelpScreen(ModalScreen[None]):
    """A help page to scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,question_mark,enter", "dismiss", "Close")]
    AUTO_FOCUS = "VerticalScroll"
    DEFAULT_CSS = "HelpScreen .hint { margin: 1 0 0 0; }"

    def __init__(self, parts: Sequence[tuple[str, str]]) -> None:
        """parts: heading and text of each section."""
        super().__init__()
        self.parts = parts

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog", classes="-wide"):
            with VerticalScroll():
                yield Static(page(self.parts), markup=False)
            yield Static("Up and Down scroll, Esc closes", classes="hint", markup=False)


def page(parts: Sequence[tuple[str, str]]) -> Content:
    """The whole page, headings in bold."""
    return Content("\n\n").join(
        Content.styled(heading, "bold $primary") + Content("\n") + safe(text, keep_newlines=True)
        for heading, text in parts
    )
