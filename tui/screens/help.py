"""Help on the field or step in hand, the keys, and a glossary. Esc closes it."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.draft import Draft
from tui.help_text import help_text
from tui.text import safe


class HelpScreen(ModalScreen[None]):
    """A page to scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,question_mark,enter", "dismiss", "Close")]
    AUTO_FOCUS = "VerticalScroll"
    DEFAULT_CSS = "HelpScreen .hint { margin: 1 0 0 0; }"

    def __init__(self, topic: str, draft: Draft) -> None:
        super().__init__()
        self.topic, self.draft = topic, draft

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog", classes="-wide"):
            with VerticalScroll():
                yield Static(page(self.topic, self.draft), markup=False)
            yield Static("Up and Down scroll, Esc closes", classes="hint", markup=False)


def page(topic: str, draft: Draft) -> Content:
    """The whole help, headings in bold."""
    return Content("\n\n").join(
        Content.styled(heading, "bold $primary") + Content("\n") + safe(text, keep_newlines=True)
        for heading, text in help_text(topic, draft)
    )
