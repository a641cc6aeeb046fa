"""The log of a run: scroll, search, wrap. It stays at its end while the end is in sight."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input


class SearchInput(Input):
    """The words to look for. Enter goes to the newest line that holds them, Esc forgets them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "screen.end_search", "No search"),
        Binding("enter", "submit", "Find", key_display="enter"),
    ]


class LogView(ScrollView, can_focus=True):
    """Lines that are cleaned already, wrapped at the width of the view or cut there."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--found", "log--now"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "screen.search", "Search", key_display="/"),
        Binding("n", "find(-1)", "Older"),
        Binding("N", "find(1)", "Newer", key_display="N"),
        Binding("w", "wrap", "Wrap"),
    ]

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._lines: tuple[str, ...] = ()
        self._rows: list[tuple[int, str]] = []
        """Each row on the screen: the number of its line, and its text."""
        self._wraps = True
        self._follows = True
        self._words = ""
        self._now: int | None = None
        """The line that was found."""

    def show(self, lines: tuple[str, ...]) -> None:
        """Show these lines; at the end of the log unless the user has scrolled back."""
        if lines == self._lines:
            return
        if self._now is not None:  # the oldest lines fall out as new ones come
            found = self._lines[self._now]
            self._now = max((n for n, line in enumerate(lines) if line == found), default=None)
        self._lines = lines
        self._lay_out()

    def search(self, words: str) -> int:
        """Look for words, in any case, from the end on; the number of lines that hold them."""
        self._words, self._now = words.lower(), None
        self.action_find(-1)
        self.refresh()
        self.refresh_bindings()
        return len(self._found())

    def _found(self) -> list[int]:
        return [n for n, line in enumerate(self._lines) if self._words and self._words in line.lower()]

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if not width:  # it is not shown yet
            return
        self._rows = [row for n, line in enumerate(self._lines) for row in self._rows_of(n, line, width)]
        longest = width if self._wraps else max((len(text) for _, text in self._rows), default=0)
        self.virtual_size = Size(longest, len(self._rows))
        if self._follows:
            self.call_after_refresh(self.scroll_end, animate=False)
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow the end of the log as long as it is in sight."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = new_value >= self.max_scroll_y - 1

    def _rows_of(self, number: int, line: str, width: int) -> Sequence[tuple[int, str]]:
        if not self._wraps:
            return [(number, line)]
        rows, rest = [], line
        while len(rest) > width:
            cut = rest.rfind(" ", width // 2, width) + 1 or width  # between two words, if one ends late enough
            rows.append((number, rest[:cut]))
            rest = rest[cut:]
        return [*rows, (number, rest)]

    def render_line(self, y: int) -> Strip:
        at = self.scroll_offset.y + y
        width = self.scrollable_content_region.width
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        number, text = self._rows[at]
        found = self.get_component_rich_style("log--now" if number == self._now else "log--found")
        left = self.scroll_offset.x
        return Strip(_marked(text, self._words, self.rich_style, found)).crop_extend(
            left, left + width, self.rich_style
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a search `n` keeps a note, as elsewhere."""
        return action != "find" or bool(self._words)

    def action_find(self, step: int) -> None:
        """Go to the next line that holds the words: -1 for an older one, 1 for a newer one; round at the ends."""
        found = self._found()
        if not found:
            self._now = None
            return
        if self._now is None:
            self._now = found[-1]
        else:
            later, earlier = [n for n in found if n > self._now], [n for n in found if n < self._now]
            self._now = (later or found)[0] if step > 0 else (earlier or found)[-1]
        row = next(at for at, (number, _) in enumerate(self._rows) if number == self._now)
        self.scroll_to(y=max(0, row - self.size.height // 2), animate=False, immediate=True)
        self.refresh()

    def action_wrap(self) -> None:
        self._wraps = not self._wraps
        self._lay_out()


def _marked(text: str, words: str, plain: Style, found: Style) -> list[Segment]:
    """The text with each place that holds the words in another style."""
    segments, at, lower = [], 0, text.lower()
    while words and (place := lower.find(words, at)) >= 0:
        segments += [Segment(text[at:place], plain), Segment(text[place : place + len(words)], found)]
        at = place + len(words)
    return [*segments, Segment(text[at:], plain)]
