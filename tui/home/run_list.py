"""The list at home: the ways to a new run, and below them every run, one of which is in hand."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input
from textual.widgets.option_list import Option

from fitune.core.runs import Run
from fitune.tui.home.run_rows import RunRow, headings, line
from fitune.tui.text import safe
from fitune.tui.widgets.choices import ChoiceList


class Choice(Protocol):
    """Something else to do than to look at a run."""

    @property
    def text(self) -> str:
        """It in words."""


Entry = Choice | RunRow | None
"""A line of the list; None is the one with the names of the columns."""


class FilterInput(Input):
    """The words that a run must hold to be listed. Esc shows all again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "screen.unfilter", "All runs"),
        Binding("enter", "submit", "To the runs", key_display="enter"),
    ]


class RunList(ChoiceList):
    """The list; it keeps the run in hand when it is filled again."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.entries: list[Entry] = []
        self._marked: Run | None = None
        self._in_hand: int | None = None

    @property
    def entry(self) -> Entry:
        """The line in hand."""
        at = self.highlighted
        return self.entries[at] if at is not None and at < len(self.entries) else None

    def fill(self, entries: Sequence[Entry], marked: Run | None, in_hand: Entry = None) -> None:
        """Show these lines, runs below their headings. in_hand: the one to begin with; else it stays as it was."""
        kept, at = in_hand or self.entry, self.highlighted or 0
        first_run = next((n for n, entry in enumerate(entries) if isinstance(entry, RunRow)), None)
        self.entries, self._marked = list(entries), marked
        if first_run is not None:
            self.entries.insert(first_run, None)
        self.set_options(Option(self._prompt(n, False), disabled=entry is None) for n, entry in enumerate(self.entries))
        places = [n for n, entry in enumerate(self.entries) if entry is not None]
        same = next((n for n in places if _key(self.entries[n]) == _key(kept)), None)
        nearest = next((n for n in places if n >= at), places[-1] if places else None)
        self.highlighted = nearest if same is None else same
        self.mark_in_hand()

    def mark_in_hand(self) -> None:
        """Draw the line in hand in the colours of the cursor bar, and the one before in its own again."""
        before, self._in_hand = self._in_hand, self.highlighted
        for at in {before, self._in_hand} - {None}:
            if at is not None and at < len(self.entries):
                self.replace_option_prompt_at_index(at, self._prompt(at, at == self._in_hand))

    def on_resize(self) -> None:
        for at in range(len(self.entries)):
            self.replace_option_prompt_at_index(at, self._prompt(at, at == self.highlighted))

    def _prompt(self, at: int, in_hand: bool) -> Content:
        entry, columns = self.entries[at], self.size.width - 1
        if entry is None:
            return Content.styled(headings(columns), "$secondary")
        if not isinstance(entry, RunRow):
            return safe(entry.text)
        plain = self.app.has_class("-plain-glyphs")
        return line(entry, columns, plain, in_hand, entry.run == self._marked)


def _key(entry: Entry) -> object:
    """What stays the same of a line when the runs are read again."""
    return entry.run if isinstance(entry, RunRow) else entry
