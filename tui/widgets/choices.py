"""A list to choose one item from: Up, Down, Enter or Space."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList

from fitune.tui.text import safe


class ChoiceList(OptionList):
    """Textual's list, with its key in the footer. Options are given as Content, never as markup."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "select", "Choose", key_display="enter")]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, compact=True, markup=False)

    def offer(self, lines: Sequence[str], highlighted: int = 0) -> None:
        """List these lines with one in hand; without any the list is not seen."""
        self.set_options(safe(line, keep_newlines=True) for line in lines)
        self.display = bool(lines)
        self.highlighted = highlighted if lines else None

    def on_resize(self) -> None:
        """Keep the one in hand in view where what is told of it takes lines from the list."""
        self.scroll_to_highlight()

    def action_cursor_up(self) -> None:
        """Move up; from the first item to the input above the list, if there is one."""
        if self.highlighted == 0 and self.screen.focus_chain[0] is not self:
            self.screen.focus_previous()
        else:
            super().action_cursor_up()
